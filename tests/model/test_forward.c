/* SPDX-License-Identifier: MIT */
/* The forward pass: logits of transformers, hooks, other weights, sequences, what is refused. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/model/forward.h"
#include "tests/model/forward_kit.h"
#include "tests/model/forward_logits.h"

typedef struct kit {
  char folder[64];
  qp_models *models;
  qp_forward *f;
  uint32_t id[KIT_TOKENS];
  size_t end[1];
  qp_sequences all; /* one sequence */
  float *logits;    /* [tokens][vocab] */
} kit;

static const kit_family *family_of(const char *name) {
  for (unsigned i = 0; i < KIT_FAMILIES; i++)
    if (!strcmp(kit_families[i].name, name)) return &kit_families[i];
  return NULL;
}

static void open_kit(const char *name, const qp_forward_options *options, kit *k) {
  qp_error err = {{0}};
  const kit_family *family = family_of(name);
  *k = (kit){.folder = "/tmp/qpal_forward_XXXXXX"};
  cr_assert(mkdtemp(k->folder) != NULL);
  cr_assert_eq(kit_write(k->folder, family->config, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_models_open(&k->models, &err), QP_OK, "%s", err.text);
  cr_assert_eq(qp_forward_open(k->folder, k->models, options, &k->f, &err), QP_OK, "%s", err.text);
  kit_tokens(family->tokens, k->id);
  k->end[0] = family->tokens;
  k->all = (qp_sequences){k->id, k->end, 1};
  k->logits = calloc((size_t)family->tokens * KIT_VOCAB, sizeof *k->logits);
  cr_assert_eq(qp_forward_logits(k->f, &k->all, NULL, k->logits, &err), QP_OK, "%s: %s", name,
               err.text);
}

static void close_kit(kit *k) {
  char path[128];
  qp_forward_close(k->f);
  qp_models_close(k->models);
  free(k->logits);
  snprintf(path, sizeof path, "%s/config.json", k->folder);
  unlink(path);
  snprintf(path, sizeof path, "%s/model.safetensors", k->folder);
  unlink(path);
  rmdir(k->folder);
}

static const qp_forward_options two_threads = {.threads = 2};

static float largest(const float *x, size_t n) {
  float most = 0;
  for (size_t i = 0; i < n; i++) most = fmaxf(most, fabsf(x[i]));
  return most;
}

/* The largest difference, relative to the largest of b. */
static double difference(const float *a, const float *b, size_t n) {
  double worst = 0;
  for (size_t i = 0; i < n; i++) {
    const double d = fabs((double)a[i] - (double)b[i]);
    if (!(d <= worst)) worst = d;
  }
  return worst / (double)largest(b, n);
}

Test(forward, logits_of_every_family_are_those_of_transformers) {
  const size_t stored = sizeof stored_logits / sizeof *stored_logits;
  size_t seen = 0;
  for (unsigned i = 0; i < KIT_FAMILIES; i++) {
    kit k;
    open_kit(kit_families[i].name, &two_threads, &k);
    const float most = largest(k.logits, (size_t)kit_families[i].tokens * KIT_VOCAB);
    for (size_t s = 0; s < stored; s++) {
      const struct stored_logit *want = &stored_logits[s];
      if (strcmp(want->family, kit_families[i].name) != 0) continue;
      const float got = k.logits[(size_t)want->position * KIT_VOCAB + want->token];
      cr_expect_float_eq(got, want->logit, 1e-4f * most, "%s: token %u after %u: %.7g, not %.7g",
                         want->family, want->token, want->position, (double)got,
                         (double)want->logit);
      seen++;
    }
    close_kit(&k);
  }
  cr_assert_eq(seen, stored);
  cr_assert_eq(seen, 12 * KIT_FAMILIES);
}

Test(forward, a_sequence_sees_itself_alone_whatever_lies_beside_it) {
  kit k;
  qp_error err = {{0}};
  open_kit("gemma3", &two_threads, &k);
  enum { FIRST = 13 };
  uint32_t id[FIRST + KIT_TOKENS];
  memcpy(id, k.id + 5, FIRST * sizeof *id);
  memcpy(id + FIRST, k.id, KIT_TOKENS * sizeof *id);
  const size_t end[] = {FIRST, FIRST + KIT_TOKENS};
  const qp_sequences both = {id, end, 2};
  float *logits = malloc((FIRST + KIT_TOKENS) * KIT_VOCAB * sizeof *logits);
  cr_assert_eq(qp_forward_logits(k.f, &both, NULL, logits, &err), QP_OK, "%s", err.text);
  cr_expect_lt(difference(logits + FIRST * KIT_VOCAB, k.logits, KIT_TOKENS * KIT_VOCAB), 1e-5);
  free(logits);
  close_kit(&k);
}

Test(forward, positions_turn_by_the_length_of_their_own_sequence) {
  enum { SHORT = 20 }; /* phi3 here was trained on 32 tokens */
  kit k;
  qp_error err = {{0}};
  open_kit("phi3-short", &two_threads, &k);
  uint32_t id[KIT_TOKENS + SHORT];
  kit_tokens(KIT_TOKENS, id);
  memcpy(id + KIT_TOKENS, k.id, SHORT * sizeof *id);
  const size_t end[] = {KIT_TOKENS, KIT_TOKENS + SHORT};
  const qp_sequences both = {id, end, 2};
  float *logits = malloc((KIT_TOKENS + SHORT) * KIT_VOCAB * sizeof *logits);
  cr_assert_eq(qp_forward_logits(k.f, &both, NULL, logits, &err), QP_OK, "%s", err.text);
  const double again = difference(logits + KIT_TOKENS * KIT_VOCAB, k.logits, SHORT * KIT_VOCAB);
  cr_expect_lt(again, 1e-5);
  /* the same ids at the beginning of a longer sequence are turned otherwise */
  cr_expect_gt(difference(logits, k.logits, SHORT * KIT_VOCAB), 1e-3);
  free(logits);
  close_kit(&k);
}

Test(forward, weights_that_are_not_kept_give_the_same_logits) {
  kit k;
  qp_error err = {{0}};
  open_kit("qwen3", &two_threads, &k);
  qp_forward *f;
  const qp_forward_options little = {.threads = 3, .resident_bytes = 1};
  float *logits = malloc(KIT_TOKENS * KIT_VOCAB * sizeof *logits);
  cr_assert_eq(qp_forward_open(k.folder, k.models, &little, &f, &err), QP_OK, "%s", err.text);
  for (unsigned round = 0; round < 2; round++) {
    cr_assert_eq(qp_forward_logits(f, &k.all, NULL, logits, &err), QP_OK, "%s", err.text);
    cr_expect_lt(difference(logits, k.logits, KIT_TOKENS * KIT_VOCAB), 1e-5);
  }
  free(logits);
  qp_forward_close(f);
  close_kit(&k);
}

/* ---- Other weights, kept hidden states ---- */

Test(forward, the_rest_of_a_model_runs_again_with_other_weights_from_kept_states) {
  enum { BLOCK = 2 };
  kit k;
  qp_error err = {{0}};
  open_kit("llama", &two_threads, &k);
  const qp_model *m = qp_forward_model(k.f);
  const size_t states = (size_t)KIT_TOKENS * m->hidden, logits = KIT_TOKENS * KIT_VOCAB;
  float *hidden = malloc(2 * states * sizeof *hidden), *kept = hidden + states;
  float *again = malloc(logits * sizeof *again);
  cr_assert_eq(qp_forward_embed(k.f, &k.all, hidden, &err), QP_OK);
  for (unsigned b = 0; b < BLOCK; b++)
    cr_assert_eq(qp_forward_block(k.f, b, &k.all, NULL, hidden, &err), QP_OK);
  memcpy(kept, hidden, states * sizeof *kept);
  for (unsigned linear = 0; linear <= m->linears; linear++) {
    const size_t n = (size_t)m->linear[linear].rows * m->linear[linear].columns;
    float *w = malloc(n * sizeof *w);
    cr_assert_eq(qp_forward_weights(k.f, BLOCK, linear, w, &err), QP_OK, "%s", err.text);
    /* the same weights; twice the first; their own again */
    for (unsigned round = 0; round < 3; round++) {
      if (round == 1) w[0] = 2 * w[0] + 1;
      qp_forward_override(k.f, BLOCK, linear, round < 2 ? w : NULL);
      memcpy(hidden, kept, states * sizeof *kept);
      for (unsigned b = BLOCK; b < m->layers; b++)
        cr_assert_eq(qp_forward_block(k.f, b, &k.all, NULL, hidden, &err), QP_OK);
      cr_assert_eq(qp_forward_head(k.f, hidden, KIT_TOKENS, NULL, again, &err), QP_OK);
      const double d = difference(again, k.logits, logits);
      cr_expect(round == 1 ? d > 1e-4 : d < 1e-5, "linear %u, round %u: %g", linear, round, d);
    }
    free(w);
  }
  free(hidden);
  free(again);
  close_kit(&k);
}

Test(forward, the_other_weights_of_a_tied_head_are_looked_up_too) {
  kit k;
  qp_error err = {{0}};
  open_kit("llama-3", &two_threads, &k);
  const qp_model *m = qp_forward_model(k.f);
  cr_assert(m->tied);
  const size_t n = (size_t)m->vocab * m->hidden, states = (size_t)KIT_TOKENS * m->hidden;
  float *w = malloc(n * sizeof *w), *own = malloc(2 * states * sizeof *own), *other = own + states;
  cr_assert_eq(qp_forward_weights(k.f, m->layers, m->linears, w, &err), QP_OK, "%s", err.text);
  for (size_t i = 0; i < n; i++) w[i] *= 2;
  cr_assert_eq(qp_forward_embed(k.f, &k.all, own, &err), QP_OK);
  qp_forward_override(k.f, m->layers, m->linears, w);
  cr_assert_eq(qp_forward_embed(k.f, &k.all, other, &err), QP_OK);
  for (size_t i = 0; i < states; i++) cr_assert_eq(other[i], 2 * own[i]);
  qp_forward_override(k.f, m->layers, m->linears, NULL);
  cr_assert_eq(qp_forward_embed(k.f, &k.all, other, &err), QP_OK);
  for (size_t i = 0; i < states; i++) cr_assert_eq(other[i], own[i]);
  free(own);
  free(w);
  close_kit(&k);
}

/* ---- Hooks ---- */

typedef struct heard {
  const qp_model *m;
  unsigned block, group; /* of the last call */
  size_t rows[8][QP_MODEL_GROUPS + 1];
  double squares; /* of what the head reads */
  bool in_order;
} heard;

static qp_status listen_to(void *arg, unsigned block, unsigned group, const float *x, size_t rows,
                           unsigned columns, qp_error *err) {
  heard *h = arg;
  (void)err;
  const bool head = block == h->m->layers;
  cr_assert_eq(columns, head ? h->m->hidden : h->m->group[group].columns);
  h->in_order = h->in_order && (block > h->block || (block == h->block && group >= h->group));
  h->block = block;
  h->group = group;
  h->rows[block][group] += rows;
  for (size_t i = 0; head && i < rows * columns; i++) h->squares += (double)x[i] * (double)x[i];
  return QP_OK;
}

static qp_status stop(void *arg, unsigned block, unsigned group, const float *x, size_t rows,
                      unsigned columns, qp_error *err) {
  (void)x, (void)rows, (void)columns;
  return block == 1 && group == *(unsigned *)arg ? qp_fail(err, QP_E_LIMIT, "heard enough") : QP_OK;
}

Test(forward, hooks_hear_every_token_once_at_every_group_in_order) {
  const char *const names[] = {"llama", "phi3"}; /* linears apart, and fused */
  for (unsigned i = 0; i < 2; i++) {
    kit k;
    qp_error err = {{0}};
    open_kit(names[i], &two_threads, &k);
    const qp_model *m = qp_forward_model(k.f);
    heard h = {.m = m, .in_order = true};
    float *logits = malloc(KIT_TOKENS * KIT_VOCAB * sizeof *logits);
    const qp_forward_hook hook = {listen_to, &h};
    cr_assert_eq(qp_forward_logits(k.f, &k.all, &hook, logits, &err), QP_OK, "%s", err.text);
    cr_expect_lt(difference(logits, k.logits, KIT_TOKENS * KIT_VOCAB), 1e-6);
    cr_expect(h.in_order);
    for (unsigned b = 0; b < m->layers; b++)
      for (unsigned g = 0; g < m->groups; g++) cr_expect_eq(h.rows[b][g], KIT_TOKENS);
    cr_expect_eq(h.rows[m->layers][m->groups], KIT_TOKENS);
    cr_expect_gt(h.squares, 0.3 * KIT_TOKENS * m->hidden);
    for (unsigned g = 0; g < m->groups; g++) {
      const qp_forward_hook ends = {stop, &g};
      cr_expect_eq(qp_forward_logits(k.f, &k.all, &ends, logits, &err), QP_E_LIMIT);
      cr_expect(strstr(err.text, "heard enough"));
    }
    free(logits);
    close_kit(&k);
  }
}

/* ---- What is refused ---- */

static void refused(const char *config, const char *what) {
  char folder[] = "/tmp/qpal_forward_XXXXXX", path[128];
  qp_error err = {{0}};
  qp_models *models;
  qp_forward *f = NULL;
  cr_assert(mkdtemp(folder) != NULL);
  cr_assert_eq(kit_write(folder, family_of("llama")->config, &err), QP_OK);
  snprintf(path, sizeof path, "%s/config.json", folder);
  FILE *file = fopen(path, "w");
  fputs(config, file);
  fclose(file);
  cr_assert_eq(qp_models_open(&models, &err), QP_OK);
  cr_expect_eq(qp_forward_open(folder, models, &two_threads, &f, &err), QP_E_ARG);
  cr_expect(strstr(err.text, what), "'%s' is not in: %s", what, err.text);
  qp_models_close(models);
  unlink(path);
  snprintf(path, sizeof path, "%s/model.safetensors", folder);
  unlink(path);
  rmdir(folder);
}

Test(forward, a_config_that_says_what_is_not_known_is_refused_by_its_field) {
#define CONFIG(type, more) "{\"model_type\": \"" type "\", " KIT_SIZES more "}"
  refused(CONFIG("bert", "\"hidden_act\": \"gelu\""), "'bert' has no 'forward'");
  refused(CONFIG("llama", "\"hidden_act\": \"mish\""), "hidden_act: 'mish' is not known");
  refused(CONFIG("gemma3_text", "\"use_bidirectional_attention\": true"),
          "use_bidirectional_attention");
  refused(CONFIG("llama", "\"head_dim\": 32, \"tie_word_embeddings\": false"),
          "q_proj.weight' is 64 x 64; 128 x 64 is needed");
}

Test(forward, a_scaling_that_is_not_known_or_lacks_a_number_is_refused) {
  const char *const wrong[][2] = {
      {CONFIG("llama", "\"rope_scaling\": {\"type\": \"warp\"}"), "type 'warp' is not one of"},
      {CONFIG("llama", "\"rope_scaling\": {\"type\": \"linear\"}"), "'linear' needs 'factor'"},
      {CONFIG("phi3", "\"rope_scaling\": {\"type\": \"longrope\", \"short_factor\": [1]}"),
       "lists of 8 numbers"}};
  for (unsigned i = 0; i < 3; i++) {
    qp_error err = {{0}};
    qp_models *models;
    qp_model model;
    qp_computation c;
    qp_turns turns[QP_MAX_TURNS];
    unsigned count;
    cr_assert_eq(qp_models_open(&models, &err), QP_OK);
    cr_assert_eq(
        qp_models_parse(models, "config.json", wrong[i][0], strlen(wrong[i][0]), &model, &err),
        QP_OK);
    cr_assert_eq(qp_computation_open(models, &model, "config.json", wrong[i][0], &c, &err), QP_OK,
                 "%s", err.text);
    cr_expect_eq(qp_computation_turns(&c, 10, turns, &count, &err), QP_E_ARG);
    cr_expect(strstr(err.text, wrong[i][1]), "'%s' is not in: %s", wrong[i][1], err.text);
    qp_computation_close(&c);
    qp_models_close(models);
  }
}

Test(forward, an_id_beyond_the_vocabulary_is_refused) {
  kit k;
  qp_error err = {{0}};
  open_kit("gemma", &two_threads, &k);
  k.id[3] = KIT_VOCAB;
  cr_expect_eq(qp_forward_logits(k.f, &k.all, NULL, k.logits, &err), QP_E_ARG);
  cr_expect(strstr(err.text, "token 3 is 96"), "%s", err.text);
  close_kit(&k);
}

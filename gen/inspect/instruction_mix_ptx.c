/* SPDX-License-Identifier: MIT */
/* Reads PTX text into a listing: it finds a kernel's body, splits it into statements, and names
   each one's pipe. */
#include <ctype.h>
#include <string.h>

#include "gen/inspect/listing.h"

typedef struct span {
  const char *at, *end;
} span;

static bool is_name(char c) {
  return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '%';
}

/* Step over blanks and comments. */
static const char *skip_blank(const char *at, const char *end) {
  while (at < end) {
    if (isspace((unsigned char)*at)) {
      at++;
    } else if (end - at >= 2 && at[0] == '/' && at[1] == '/') {
      while (at < end && *at != '\n') at++;
    } else if (end - at >= 2 && at[0] == '/' && at[1] == '*') {
      at += 2;
      while (end - at >= 2 && !(at[0] == '*' && at[1] == '/')) at++;
      at = end - at >= 2 ? at + 2 : end;
    } else {
      break;
    }
  }
  return at;
}

static span take_name(const char *at, const char *end) {
  span s = {.at = at, .end = at};
  while (s.end < end && is_name(*s.end)) s.end++;
  return s;
}

static size_t length_of(span s) { return (size_t)(s.end - s.at); }

static bool same(span s, const char *text) {
  return length_of(s) == strlen(text) && memcmp(s.at, text, length_of(s)) == 0;
}

/* The text between the braces of  .entry kernel (...) ... { ... }; at is NULL if there is none. */
static span find_body(const char *ptx, const char *kernel) {
  const char *end = ptx + strlen(ptx);
  static const char word[] = ".entry";
  for (const char *at = ptx; (at = strstr(at, word)) != NULL;) {
    at = skip_blank(at + sizeof word - 1, end);
    const span name = take_name(at, end);
    if (!same(name, kernel)) continue;
    const char *open = strchr(name.end, '{');
    if (!open) break;
    int depth = 1;
    for (const char *c = skip_blank(open + 1, end); c < end; c = skip_blank(c + 1, end)) {
      if (*c == '{') depth++;
      if (*c == '}' && --depth == 0) return (span){.at = open + 1, .end = c};
    }
    break;
  }
  return (span){0};
}

/* ---- the pipe of an instruction ---- */

/* True if the dotted name 'op' has the part 'part' ("ld.shared.b32": "shared", "shared::cta"). */
static bool has_part(span op, const char *part) {
  const size_t n = strlen(part);
  for (const char *dot = op.at; (dot = memchr(dot, '.', (size_t)(op.end - dot))) != NULL;) {
    dot++;
    const size_t left = (size_t)(op.end - dot);
    if (left < n || memcmp(dot, part, n) != 0) continue;
    if (left == n || dot[n] == '.' || dot[n] == ':') return true;
  }
  return false;
}

static bool has_any_part(span op, const char *const *parts) {
  for (; *parts; parts++) {
    if (has_part(op, *parts)) return true;
  }
  return false;
}

/* Sort arithmetic by its operand type. */
static qp_kind kind_by_type(span op, qp_kind integer) {
  static const char *const half[] = {"f16", "f16x2", "bf16", "bf16x2", NULL};
  static const char *const wide[] = {"f32", "f32x2", "f64", NULL};
  if (has_any_part(op, half)) return QP_KIND_half_math;
  return has_any_part(op, wide) ? QP_KIND_float_math : integer;
}

static qp_kind kind_of_load(span op) {
  static const char *const elsewhere[] = {"param", "local", "const", NULL};
  if (has_part(op, "shared")) return QP_KIND_shared_load;
  return has_any_part(op, elsewhere) ? QP_KIND_other : QP_KIND_global_load;
}

static qp_kind kind_of_store(span op) {
  static const char *const elsewhere[] = {"param", "local", NULL};
  if (has_part(op, "shared")) return QP_KIND_shared_store;
  return has_any_part(op, elsewhere) ? QP_KIND_other : QP_KIND_global_store;
}

/* cp.async loads global memory; its bulk form may also write it; its groups are waited for. */
static qp_kind kind_of_copy(span op) {
  static const char *const waits[] = {"commit_group", "wait_group", "wait_all", "mbarrier", NULL};
  if (has_any_part(op, waits)) return QP_KIND_barrier;
  static const char to_global[] = ".global.shared";
  for (const char *c = op.at; op.end - c >= (ptrdiff_t)sizeof to_global - 1; c++) {
    if (memcmp(c, to_global, sizeof to_global - 1) == 0) return QP_KIND_global_store;
  }
  return QP_KIND_global_load;
}

/* First parts of PTX instructions that are of one kind whatever follows. */
static const struct {
  const char *first;
  qp_kind kind;
} fixed_kinds[] = {
    {"mma", QP_KIND_mma},
    {"wmma", QP_KIND_mma},
    {"wgmma", QP_KIND_mma},
    {"tcgen05", QP_KIND_mma},
    {"ldmatrix", QP_KIND_shared_load},
    {"stmatrix", QP_KIND_shared_store},
    {"ldu", QP_KIND_global_load},
    {"tex", QP_KIND_global_load},
    {"atom", QP_KIND_atomic},
    {"red", QP_KIND_atomic},
    {"multimem", QP_KIND_atomic},
    {"shfl", QP_KIND_shuffle},
    {"vote", QP_KIND_shuffle},
    {"match", QP_KIND_shuffle},
    {"redux", QP_KIND_shuffle},
    {"bar", QP_KIND_barrier},
    {"barrier", QP_KIND_barrier},
    {"membar", QP_KIND_barrier},
    {"fence", QP_KIND_barrier},
    {"mbarrier", QP_KIND_barrier},
    {"griddepcontrol", QP_KIND_barrier},
    {"cvt", QP_KIND_convert},
    {"bra", QP_KIND_control},
    {"brx", QP_KIND_none}, /* counted at its list of targets */
    {"call", QP_KIND_control},
    {"ret", QP_KIND_control},
    {"exit", QP_KIND_control},
    {"trap", QP_KIND_control},
    {"nanosleep", QP_KIND_control},
    {"dp2a", QP_KIND_integer_mul},
    {"dp4a", QP_KIND_integer_mul},
    {"mul24", QP_KIND_integer_mul},
    {"mad24", QP_KIND_integer_mul},
    /* moves mostly vanish in SASS: they are names for registers */
    {"mov", QP_KIND_other},
    {"pragma", QP_KIND_other},
};

/* First parts whose kind the type decides, and what it is for integers. */
static const struct {
  const char *first;
  qp_kind integer;
} typed_kinds[] = {
    {"mul", QP_KIND_integer_mul},     {"mad", QP_KIND_integer_mul},   {"madc", QP_KIND_integer_mul},
    {"fma", QP_KIND_float_math},      {"add", QP_KIND_integer_alu},   {"addc", QP_KIND_integer_alu},
    {"sub", QP_KIND_integer_alu},     {"subc", QP_KIND_integer_alu},  {"min", QP_KIND_integer_alu},
    {"max", QP_KIND_integer_alu},     {"abs", QP_KIND_integer_alu},   {"neg", QP_KIND_integer_alu},
    {"div", QP_KIND_integer_mul},     {"rem", QP_KIND_integer_mul},   {"sad", QP_KIND_integer_alu},
    {"setp", QP_KIND_integer_alu},    {"set", QP_KIND_integer_alu},   {"selp", QP_KIND_integer_alu},
    {"slct", QP_KIND_integer_alu},    {"and", QP_KIND_integer_alu},   {"or", QP_KIND_integer_alu},
    {"xor", QP_KIND_integer_alu},     {"not", QP_KIND_integer_alu},   {"cnot", QP_KIND_integer_alu},
    {"lop3", QP_KIND_integer_alu},    {"shl", QP_KIND_integer_alu},   {"shr", QP_KIND_integer_alu},
    {"shf", QP_KIND_integer_alu},     {"prmt", QP_KIND_integer_alu},  {"bfe", QP_KIND_integer_alu},
    {"bfi", QP_KIND_integer_alu},     {"bfind", QP_KIND_integer_alu}, {"fns", QP_KIND_integer_alu},
    {"popc", QP_KIND_integer_alu},    {"clz", QP_KIND_integer_alu},   {"brev", QP_KIND_integer_alu},
    {"bmsk", QP_KIND_integer_alu},    {"szext", QP_KIND_integer_alu}, {"cvta", QP_KIND_integer_alu},
    {"rcp", QP_KIND_float_math},      {"sqrt", QP_KIND_float_math},   {"rsqrt", QP_KIND_float_math},
    {"sin", QP_KIND_float_math},      {"cos", QP_KIND_float_math},    {"lg2", QP_KIND_float_math},
    {"ex2", QP_KIND_float_math},      {"tanh", QP_KIND_float_math},   {"testp", QP_KIND_float_math},
    {"copysign", QP_KIND_float_math},
};

static qp_kind kind_of(span op) {
  const span first = take_name(op.at, op.end);
  if (same(first, "ld")) return kind_of_load(op);
  if (same(first, "st")) return kind_of_store(op);
  if (same(first, "cp")) return kind_of_copy(op);
  for (size_t i = 0; i < sizeof fixed_kinds / sizeof *fixed_kinds; i++) {
    if (same(first, fixed_kinds[i].first)) return fixed_kinds[i].kind;
  }
  for (size_t i = 0; i < sizeof typed_kinds / sizeof *typed_kinds; i++) {
    if (same(first, typed_kinds[i].first)) return kind_by_type(op, typed_kinds[i].integer);
  }
  return QP_KIND_other;
}

/* ---- statements ---- */

static span opcode_at(const char *at, const char *end) {
  span s = {.at = at, .end = at};
  while (s.end < end && (is_name(*s.end) || *s.end == '.' || *s.end == ':')) s.end++;
  return s;
}

/* Read one instruction, from its predicate to before its semicolon. */
static void read_instruction(qp_listing *l, const char *at, const char *end) {
  bool predicated = false;
  if (at < end && *at == '@') {
    predicated = true;
    at++;
    if (at < end && *at == '!') at++;
    at = skip_blank(take_name(at, end).end, end);
  }
  const span op = opcode_at(at, end);
  const span first = take_name(op.at, op.end);
  const bool jump = same(first, "bra");
  const bool leaves = jump || same(first, "brx") || same(first, "ret") || same(first, "exit");
  const bool stops = (leaves || same(first, "trap")) && !predicated;
  qp_listing_add(l, &(qp_instruction){.kind = kind_of(op), .stops = stops});
  if (!jump) return;
  const span target = take_name(skip_blank(op.end, end), end);
  qp_listing_branch(l, target.at, length_of(target));
}

/*
** A list of targets stands before the brx.idx that uses it.  It is taken for the jump itself, and
** brx for an end of the flow that is no instruction.
*/
static void read_directive(qp_listing *l, const char *at, const char *end) {
  static const char word[] = ".branchtargets";
  const size_t n = sizeof word - 1;
  if ((size_t)(end - at) < n || memcmp(at, word, n) != 0) return;
  qp_listing_add(l, &(qp_instruction){.kind = QP_KIND_control});
  for (at = skip_blank(at + n, end); at < end;) {
    const span target = take_name(at, end);
    if (length_of(target) == 0) break;
    qp_listing_branch(l, target.at, length_of(target));
    at = skip_blank(target.end, end);
    if (at < end && *at == ',') at = skip_blank(at + 1, end);
  }
}

/* The semicolon that ends a statement; braces inside ("{%r1, %r2}") belong to it. */
static const char *statement_end(const char *at, const char *end) {
  while (at < end && *at != ';') at++;
  return at;
}

static void read_body(qp_listing *l, span body) {
  const char *at = skip_blank(body.at, body.end);
  for (; at < body.end; at = skip_blank(at, body.end)) {
    if (*at == '{' || *at == '}') {
      if (*at == '{') {
        qp_listing_open(l);
      } else {
        qp_listing_close(l);
      }
      at++;
      continue;
    }
    const span name = take_name(at, body.end);
    const char *behind = skip_blank(name.end, body.end);
    if (length_of(name) > 0 && behind < body.end && *behind == ':') {
      qp_listing_label(l, name.at, length_of(name));
      at = behind + 1;
      continue;
    }
    const char *end = statement_end(at, body.end);
    if (*at == '.') {
      /* .loc and .file end with the line, not with a semicolon. */
      const bool line = strncmp(at, ".loc", 4) == 0 || strncmp(at, ".file", 5) == 0;
      if (line) {
        end = memchr(at, '\n', (size_t)(body.end - at));
        if (!end) end = body.end;
      } else {
        read_directive(l, at, end);
      }
    } else if (end > at) {
      read_instruction(l, at, end);
    }
    at = end < body.end ? end + 1 : end;
  }
}

qp_status qp_instruction_mix_ptx(const char *ptx, const char *kernel, qp_instruction_mix *out,
                                 qp_error *err) {
  const span body = find_body(ptx, kernel);
  if (!body.at) return qp_fail(err, QP_E_ARG, "PTX text has no kernel (.entry) '%s'", kernel);
  qp_listing *l = qp_listing_new();
  if (!l) return qp_fail(err, QP_E_NOMEM, "out of memory counting instructions");
  read_body(l, body);
  const qp_status s = qp_listing_instruction_mix(l, out, err);
  qp_listing_free(l);
  return s;
}

/* SPDX-License-Identifier: MIT */
/* What a kernel library holds, told through the public interface's structs. */
#include <string.h>

#include "runtime/library_state.h"

static qpal_status check_index(const qpal_library *l, const char *what, unsigned index,
                               unsigned section) {
  if (!l) return qp_refuse(QPAL_E_ARG, "library is NULL");
  if (index >= qp_lib_count(l, section))
    return qp_refuse(QPAL_E_ARG, "%s %u: the library has %u", what, index,
                     qp_lib_count(l, section));
  return QPAL_OK;
}

qpal_status qpal_library_describe(const qpal_library *l, qpal_library_info *info) {
  if (!l) return qp_refuse(QPAL_E_ARG, "library is NULL");
  const qpal_library_info own = {.model = qp_lib_string(l, l->header->model),
                                 .generator = qp_lib_string(l, l->header->generator),
                                 .file_bytes = l->bytes,
                                 .checksum = l->header->checksum,
                                 .toolkit = l->header->toolkit,
                                 .targets = qp_lib_count(l, QP_LIB_TARGETS),
                                 .quantizers = qp_lib_count(l, QP_LIB_QUANTIZERS),
                                 .groups = qp_lib_count(l, QP_LIB_GROUPS),
                                 .kernels = qp_lib_count(l, QP_LIB_KERNELS)};
  return qp_give(info, &own, sizeof own, sizeof own, "qpal_library_info");
}

qpal_status qpal_library_target(const qpal_library *l, unsigned index, qpal_target_info *info) {
  const qpal_status status = check_index(l, "target", index, QP_LIB_TARGETS);
  if (status) return status;
  const qp_lib_target *t = QP_LIB_GET(l, TARGETS, qp_lib_target, index);
  const qpal_target_info own = {.name = qp_lib_string(l, t->name),
                                .chosen = qp_lib_string(l, t->chosen),
                                .arch = t->arch,
                                .sm_count = t->sm_count,
                                .kernels = t->kernels};
  return qp_give(info, &own, sizeof own, sizeof own, "qpal_target_info");
}

qpal_status qpal_library_quantizer(const qpal_library *l, unsigned index,
                                   qpal_quantizer_info *info) {
  const qpal_status status = check_index(l, "quantizer", index, QP_LIB_QUANTIZERS);
  if (status) return status;
  const qp_lib_quantizer *q = QP_LIB_GET(l, QUANTIZERS, qp_lib_quantizer, index);
  const qpal_quantizer_info own = {.name = qp_lib_string(l, q->name),
                                   .hash = qp_lib_string(l, q->hash),
                                   .rate_bits = q->rate_bits,
                                   .stored_bits = q->stored_bits,
                                   .layout = q->layout,
                                   .parts = q->parts ? q->parts : 1};
  return qp_give(info, &own, sizeof own, sizeof own, "qpal_quantizer_info");
}

/* Find a kernel of experts of a problem, or NULL. */
static const qp_lib_kernel *find_experts(const qpal_library *l, uint32_t problem) {
  for (uint32_t i = 0; i < qp_lib_count(l, QP_LIB_KERNELS); i++) {
    const qp_lib_kernel *k = QP_LIB_GET(l, KERNELS, qp_lib_kernel, i);
    if (k->op == QPAL_EXPERTS && k->problem == problem) return k;
  }
  return NULL;
}

static bool has_gather(const qpal_library *l, uint32_t problem) {
  for (uint32_t i = 0; i < qp_lib_count(l, QP_LIB_KERNELS); i++) {
    const qp_lib_kernel *k = QP_LIB_GET(l, KERNELS, qp_lib_kernel, i);
    if (k->op == QPAL_GATHER && k->problem == problem) return true;
  }
  return false;
}

qpal_status qpal_library_group(const qpal_library *l, unsigned index, qpal_group_info *info) {
  const qpal_status status = check_index(l, "group", index, QP_LIB_GROUPS);
  if (status) return status;
  const qp_lib_group *g = QP_LIB_GET(l, GROUPS, qp_lib_group, index);
  const qp_lib_problem *p = QP_LIB_GET(l, PROBLEMS, qp_lib_problem, g->problem);
  qpal_group_info own = {.name = qp_lib_string(l, g->name),
                         .path = qp_lib_string(l, g->path),
                         .block = g->block,
                         .columns = p->columns,
                         .members = p->segments};
  for (unsigned s = 0; s < p->segments; s++) {
    own.rows += QP_LIB_GET(l, LINEARS, qp_lib_linear, p->linear[s])->rows;
    own.gathers |= has_gather(l, g->single[s]);
  }
  const qp_lib_kernel *routed = find_experts(l, g->problem);
  if (routed) own.experts = routed->experts, own.top_k = routed->top_k;
  return qp_give(info, &own, sizeof own, offsetof(qpal_group_info, gathers), "qpal_group_info");
}

qpal_status qpal_library_find_group(const qpal_library *l, const char *name, unsigned *group) {
  if (!l || !name || !group)
    return qp_refuse(QPAL_E_ARG, "%s is NULL", !l ? "library" : !name ? "name" : "group");
  for (uint32_t i = 0; i < qp_lib_count(l, QP_LIB_GROUPS); i++)
    if (!strcmp(name, qp_lib_string(l, QP_LIB_GET(l, GROUPS, qp_lib_group, i)->name)))
      return *group = i, QPAL_OK;
  return qp_refuse(QPAL_E_ARG, "the library has no group '%s'", name);
}

/* Whether 'name' is 'tensor', or 'tensor' and ".weight". */
static bool names_tensor(const char *name, const char *tensor) {
  const size_t n = strlen(tensor);
  return !strncmp(name, tensor, n) && (!name[n] || !strcmp(name + n, ".weight"));
}

qpal_status qpal_library_find_linear(const qpal_library *l, const char *tensor, unsigned *group,
                                     unsigned *member) {
  if (!l || !tensor || !group || !member)
    return qp_refuse(QPAL_E_ARG, "%s is NULL",
                     !l        ? "library"
                     : !tensor ? "tensor"
                     : !group  ? "group"
                               : "member");
  for (uint32_t i = 0; i < qp_lib_count(l, QP_LIB_GROUPS); i++) {
    const qp_lib_group *g = QP_LIB_GET(l, GROUPS, qp_lib_group, i);
    const unsigned n = QP_LIB_GET(l, PROBLEMS, qp_lib_problem, g->problem)->segments;
    for (unsigned m = 0; m < n; m++)
      if (names_tensor(tensor, qp_lib_string(l, g->tensor[m])))
        return *group = i, *member = m, QPAL_OK;
  }
  return qp_refuse(QPAL_E_ARG, "the library has no linear '%s'", tensor);
}

static void describe_part(const qpal_library *l, const qp_lib_part *from, qpal_part_info *to) {
  const qp_lib_quantizer *q = QP_LIB_GET(l, QUANTIZERS, qp_lib_quantizer, from->quantizer);
  *to = (qpal_part_info){.quantizer = from->quantizer,
                         .column = from->column,
                         .columns = from->columns,
                         .fields = q->fields,
                         .codebooks = q->codebooks,
                         .code_bytes = from->code_bytes};
  for (unsigned f = 0; f < q->fields; f++) to->field_bytes[f] = from->field_bytes[f];
  for (unsigned c = 0; c < q->codebooks; c++)
    if (QP_LIB_GET(l, CODEBOOKS, qp_lib_codebook, q->codebook[c])->scope)
      to->codebook_bytes[c] = from->codebook_bytes[c];
}

qpal_status qp_lib_find_member(const qpal_library *l, unsigned group, unsigned member,
                               qp_lib_member *out) {
  const qpal_status status = check_index(l, "group", group, QP_LIB_GROUPS);
  if (status) return status;
  const qp_lib_group *g = QP_LIB_GET(l, GROUPS, qp_lib_group, group);
  const qp_lib_problem *p = QP_LIB_GET(l, PROBLEMS, qp_lib_problem, g->problem);
  if (member >= p->segments)
    return qp_refuse(QPAL_E_ARG, "member %u: group '%s' has %u", member, qp_lib_string(l, g->name),
                     p->segments);
  const qp_lib_linear *e = QP_LIB_GET(l, LINEARS, qp_lib_linear, p->linear[member]);
  *out = (qp_lib_member){g, e, g->single[member]};
  return QPAL_OK;
}

qpal_status qp_lib_too_many_parts(const char *tensor, unsigned parts, const char *name,
                                  size_t size) {
  return qp_refuse(
      QPAL_E_MISMATCH,
      "linear '%s' has %u parts; %s of %zu bytes, as the caller was compiled, has room "
      "for %d: compile it with the qpal.h of libqpal %s",
      tensor, parts, name, size, QPAL_MAX_PARTS, qpal_version());
}

qpal_status qpal_library_linear(const qpal_library *l, unsigned group, unsigned member,
                                qpal_linear_info *info) {
  qp_lib_member one;
  const qpal_status status = qp_lib_find_member(l, group, member, &one);
  if (status) return status;
  const qp_lib_linear *e = one.linear;
  qpal_linear_info own = {.tensor = qp_lib_string(l, one.group->tensor[member]),
                          .quantizer = e->parts ? e->quantizer : QPAL_NONE,
                          .rows = e->rows,
                          .columns = e->columns,
                          .parts = e->parts,
                          .pieces = qp_lib_pieces(l, e),
                          .rotation = qp_lib_rotation(l, e),
                          .bytes = e->parts ? 4ull * e->rows : 2ull * e->rows * e->columns};
  for (unsigned i = 0; i < e->parts; i++) {
    qpal_part_info *part = i < QPAL_MAX_PARTS ? &own.part[i] : &own.more[i - QPAL_MAX_PARTS];
    describe_part(l, qp_lib_part_of(e, i), part);
    own.bytes += part->code_bytes;
    for (unsigned f = 0; f < QPAL_MAX_FIELDS; f++) own.bytes += part->field_bytes[f];
    for (unsigned c = 0; c < QPAL_MAX_CODEBOOKS; c++) own.bytes += part->codebook_bytes[c];
  }
  if (info && info->size >= offsetof(qpal_linear_info, pieces) && info->size < sizeof own &&
      e->parts > QPAL_MAX_PARTS)
    return qp_lib_too_many_parts(own.tensor, own.parts, "qpal_linear_info", info->size);
  return qp_give(info, &own, sizeof own, offsetof(qpal_linear_info, pieces), "qpal_linear_info");
}

static uint64_t image_bytes(const qpal_library *l, uint32_t image) {
  return image == QP_LIB_NONE ? 0 : QP_LIB_GET(l, IMAGES, qp_lib_image, image)->bytes;
}

qpal_status qpal_library_kernel(const qpal_library *l, unsigned index, qpal_kernel_info *info) {
  const qpal_status status = check_index(l, "kernel", index, QP_LIB_KERNELS);
  if (status) return status;
  const qp_lib_kernel *k = QP_LIB_GET(l, KERNELS, qp_lib_kernel, index);
  const qpal_kernel_info own = {.name = qp_lib_string(l, k->name),
                                .source = qp_lib_string(l, k->source),
                                .target = k->target,
                                .op = k->op,
                                .type = k->type,
                                .out_type = k->out_type,
                                .columns = k->columns,
                                .batch = qp_lib_reads_rows(k->op) ? 0 : k->batch,
                                .grid = k->grid,
                                .block = k->block,
                                .smem_bytes = k->smem_bytes,
                                .registers = k->registers,
                                .counters = k->counters,
                                .pdl = (k->flags & QP_LIB_PDL) != 0,
                                .adds = (k->flags & QP_LIB_ADDS) != 0,
                                .rotates = (k->flags & QP_LIB_ROTATES) != 0,
                                .workspace_bytes = k->workspace_bytes,
                                .cubin_bytes = image_bytes(l, k->cubin),
                                .ptx_bytes = image_bytes(l, k->ptx),
                                .latency_ps = k->latency_ps};
  return qp_give(info, &own, sizeof own, sizeof own, "qpal_kernel_info");
}

uint64_t qpal_constants_bytes(const qpal_library *l) { return l ? l->header->constants_bytes : 0; }

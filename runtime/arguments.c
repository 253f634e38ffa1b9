/* SPDX-License-Identifier: MIT */
/* Packs arguments of kernel launches:  addresses --> [one parameter].  The lists stand in
   arguments.h. */
#include "runtime/arguments.h"

#include <assert.h>
#include <string.h>

#define WORD_OF(type, slot, declaration, comment)                                                  \
  {QP_ARGUMENT_WORD, offsetof(type, slot), sizeof(((type *)0)->slot) / 8, declaration, comment},
#define LIST_OF(kind, declaration, comment)  {QP_ARGUMENT_LIST_##kind, 0, 0, declaration, comment},
#define ARGUMENT(slot, declaration, comment) WORD_OF(qp_arguments, slot, declaration, comment)
#define SEGMENT(slot, declaration, comment)                                                        \
  WORD_OF(qp_segment_arguments, slot, declaration, comment)
#define STREAM(slot, declaration, comment) WORD_OF(qp_stream_arguments, slot, declaration, comment)

#define STRIDE(slot, declaration, comment)                                                         \
  {QP_ARGUMENT_WORD, offsetof(qp_stride_arguments, slot), 1, declaration, comment},

const qp_argument qp_stream_words[] = {QP_STREAM_WORDS(STREAM){0}};

#define X(name, arguments, segment, stride)                                                        \
  static const qp_argument name##_arguments[] = {arguments(ARGUMENT, LIST_OF){0}};                 \
  static const qp_argument name##_segment[] = {segment(SEGMENT){0}};                               \
  static const qp_argument name##_stride[] = {stride(STRIDE){0}};
QP_LAUNCHES(X)
#undef X

const qp_launch_arguments qp_launch_arguments_of[QP_LAUNCH_COUNT] = {
#define X(name, arguments, segment, stride)                                                        \
  [QP_LAUNCH_##name] = {name##_arguments, name##_segment, name##_stride},
    QP_LAUNCHES(X)
#undef X
};

static_assert(sizeof(qp_stride_arguments) == 8, "two strides are one word");

typedef struct writer {
  unsigned char *to; /* NULL: only count */
  size_t n;
} writer;

static void put(writer *w, const void *words, size_t count) {
  assert(w->n + 8 * count <= QP_PARAMS_MAX);
  if (w->to) memcpy(w->to + w->n, words, 8 * count);
  w->n += 8 * count;
}

static void put_struct(writer *w, const qp_argument *list, const void *from) {
  for (; list->declaration; list++) put(w, (const char *)from + list->offset, list->words);
}

static void put_pow2(writer *w) {
  uint32_t pow2[QP_ARGUMENT_POW2];
  for (unsigned i = 0; i < QP_ARGUMENT_POW2; i++) pow2[i] = (uint32_t)1 << i;
  put(w, pow2, sizeof pow2 / 8);
}

size_t qp_arguments_pack(unsigned launch, const qp_arguments *a, unsigned streams,
                         unsigned segments, unsigned char *params) {
  const qp_launch_arguments *of = &qp_launch_arguments_of[launch];
  writer w = {params, 0};
  assert(streams <= QP_ARGUMENT_STREAMS && segments <= QP_ARGUMENT_SEGMENTS);
  for (const qp_argument *arg = of->args; arg->declaration; arg++) switch (arg->kind) {
    case QP_ARGUMENT_WORD: put(&w, (const char *)a + arg->offset, arg->words); break;
    case QP_ARGUMENT_LIST_POW2: put_pow2(&w); break;
    case QP_ARGUMENT_LIST_STREAMS:
      for (unsigned i = 0; i < streams; i++) put_struct(&w, qp_stream_words, &a->stream[i]);
      break;
    case QP_ARGUMENT_LIST_SEGMENTS:
      for (unsigned i = 0; i < segments; i++) put_struct(&w, of->segment, &a->segment[i]);
      break;
    case QP_ARGUMENT_LIST_STRIDES:
      for (unsigned i = 0; i < segments; i++) put_struct(&w, of->stride, &a->stride[i]);
      break;
    }
  return w.n;
}

size_t qp_arguments_bytes(unsigned launch, unsigned streams, unsigned segments) {
  static const qp_arguments none;
  return qp_arguments_pack(launch, &none, streams, segments, NULL);
}

size_t qp_arguments_bytes_close(unsigned launch, unsigned streams, unsigned segments) {
  const size_t all = qp_arguments_bytes(launch, streams, segments);
  if (launch == QP_LAUNCH_GEMM)
    return all - 8 * (1 + segments); /* The words of X, and one for each segment. */
  return launch == QP_LAUNCH_ROTATE ? all - 16 : all;
}

/* SPDX-License-Identifier: MIT */
/* Passes over the decode IR; each makes a new IR (caller frees) of the nodes that outputs need. */
#ifndef QP_PASSES_H
#define QP_PASSES_H

#include "gen/ir/ir.h"

/* Mark the nodes that the outputs need: need[node]. */
void qp_pass_reach(const qp_ir *ir, bool *need);

/*
** Demanded bits: demand[node] has a 1 for each bit of the node's value that can change a root's.
** 'roots' are demanded whole (a HALF its low 16 bits).  'stop' is a node whose operands are not
** followed (-1: none).
*/
void qp_pass_demand(const qp_ir *ir, const uint16_t *roots, unsigned n, int stop, uint32_t *demand);

/* Known bits: may[node] has a 1 for each bit that the node's value may have set.  may holds
   max(count, 1) words. */
void qp_pass_known(const qp_ir *ir, uint32_t *may);

/* Copy an IR with changes.  'visit' gets each needed node in order with the new numbers of its
   operands, and returns the new node's number, QP_KEEP to have it copied as it is, or -1 on
   failure. */
enum { QP_KEEP = -2 };
typedef struct qp_copy qp_copy;
struct qp_copy {
  const qp_ir *from;
  qp_ir *to;
  const int *map; /* The new numbers of the nodes that were copied so far. */
  void *user;
};
typedef int (*qp_visit)(qp_copy *c, unsigned node, const int *args);
qp_ir *qp_pass_copy(const qp_ir *ir, qp_visit visit, void *user);
/* The same, and what the visit made superfluous is gone. */
qp_ir *qp_pass_rewrite(const qp_ir *ir, qp_visit visit, void *user);
/* Copy in the same way into an IR that exists, without the outputs; map[node] gets the new numbers
   (-1 where a node is not needed). */
bool qp_pass_copy_into(qp_ir *to, const qp_ir *from, const bool *need, qp_visit visit, void *user,
                       int *map);

/* AND masks that clear only bits that are clear, or that nobody demands, are dropped; and all of
   which nothing is demanded. */
qp_ir *qp_pass_drop_masks(const qp_ir *ir);
/* If bits of the state at and above 'window' are demanded, the state is masked; once, where it
   is read. */
qp_ir *qp_pass_mask_state(const qp_ir *ir, unsigned window);
/* Where a group field is a small integer, say so:  input -> input & masks[field],  of words. */
qp_ir *qp_pass_mask_fields(const qp_ir *ir, const uint32_t *masks);
/* An index that may lie beyond 'entries[codebook]' becomes the last entry's. */
qp_ir *qp_pass_clamp_lookups(const qp_ir *ir, const uint32_t *entries);
/* Decode two codes at once that lie 'step' bits apart in the state, so that halves become pairs. */
qp_ir *qp_pass_fold(const qp_ir *ir, unsigned step);
/* Outputs become bf16 pairs; the conversion moves up through changes of sign, towards the
   tables. */
qp_ir *qp_pass_bf16(const qp_ir *ir);
/* Shifts by constants move inside masks and into each other:  (x & m) << a -> x << a & m << a,  x
   >> a << b -> x >> (a-b) & mask  (or x << (b-a) & mask). */
qp_ir *qp_pass_join_shifts(const qp_ir *ir);
/*
** Words are made fp16 numbers without a conversion.  Integers below 1024 (minus a constant) are put
** into an fp16 number's last bits: half(x) -> as_half(x | 0x6400) - 1024; conversion has a pipe of
** its own, four times slower; differences of two such leave 1024 out;
** fma(1024 + .., (1, 2^-k), c) - n -> fma(1024 + .., (1, 2^-k), (c + 1024) - (1024 + n)).
** pack(x & c, y & d) -> pack(x, y) & (c | d << 16), for | and ^ too; pack of halves of words at
** byte boundaries -> PRMT; of numbers in bits 8 and 9 of both halves of x, c taken away,
** (PRMT(x, x, 1 and 3) & 0xff00ff | 0x64006400) - c ->
** fma((x & 0x03000300) | 0x64006400, 2^-8, -4 - (c - 1024));
** pack(x << k, x << k) -> x * (2^k + 2^(16+k)) where x << k stays below 2^16; a half of a field in
** both halves is how fields come.
*/
qp_ir *qp_pass_choose_halves(const qp_ir *ir);
/*
** What depends on a byte field alone is made for two of a lane's rows at once, in the halves of a
** word; of a pair an instruction takes the half it wants:
**   pack((x - c) << k, (x - c) << k) -> OWN(x' * 2^k - (c << k | c << k + 16)), x' of ROWS
** where x is field & 255 between bounds, MIN2 and MAX2 in x', and no half leaves 16 bits.
*/
qp_ir *qp_pass_pair_rows(const qp_ir *ir);
/*
** Two small integers side by side in a word become a pair without a look-up or a conversion: both
** are the last bits of 1024 + n and 1024 + 2^k n, and one multiply-add takes both back, exactly:
**   pack(half(x & m), half((x >> k) & m))  ->
**     fma((PACK(x, x) & (m | m << 16 + k)) | 0x64006400, (1, 2^-k), (-1024, -2^(10-k)))
** where m << k is below 1024.
*/
qp_ir *qp_pass_pair_integers(const qp_ir *ir);
/*
** Two chains that multiply two bytes of a word by the same constants, and mask products by the same
** masks, become one chain of a word's two halves, where no product reaches 2^16:
**   (x & 255) * c, (x >> 8 & 255) * c  ->  p = PRMT(x) * c:  p & 0xffff, p >> 16
*/
qp_ir *qp_pass_pair_products(const qp_ir *ir);
/*
** Bits that change a sign are moved by multiplication, which has a pipe of its own, two at a time:
**   w ^ ((x << a) & A) ^ ((x << b) & B)  ->  w ^ ((x & m) * (2^a + 2^b) & (A | B))
**   w ^ ((x << a) & A) ^ (y << 31)       ->  w ^ (y * 2^31 + ((x & m) << a) & (A | 2^31))
** where A and B are single bits, and m all bits of x that any such operation reads; only where the
** products of those bits have no bit in common: the sum has no carries.
**   (x & 1) ? c : d  ->  ((x << k) & 2^k) ^ d   where c ^ d = 2^k; of 16 bits in both halves
**   (x & 1) * (c - d, twice) + (d, twice)
*/
qp_ir *qp_pass_move_bits(const qp_ir *ir);
/*
** 16 bits of the state become a fetch of their own where all that read it take such: a byte permute
** of words that are shared by all windows which begin with the same bit of a byte, and no mask:
**   state & 0xffff, state >> n & 0xffff -> STATE_HALF n
** Never more instructions than a shift and a mask; fewer where states are 1, 2 or 4 bits apart.
*/
qp_ir *qp_pass_fetch_halves(const qp_ir *ir, unsigned window);
/*
** Shifts and byte permutes of the state become part of its fetch, which is a shift anyway, if all
** that read it are such; of a window that begins with a byte the fetch is a permute:
**   state >> n -> STATE_RIGHT n   where no bit from window - n on is demanded
**   state << n -> STATE_LEFT n    where no bit below n is demanded; SCALE too
**   PRMT(state, constant, sel), PACK(state, state) -> STATE_BYTES(constant, sel)
*/
qp_ir *qp_pass_fetch(const qp_ir *ir, unsigned window);
/*
** Instruction choice, in this order: a*b + c -> MAD; four bytes of one word added -> DP4A;
** a >> n | b << (32-n) -> FUNNEL; (a >> 8k) & 255 -> PRMT; two nested logical operations, the inner
** one used once -> LOP3.
*/
qp_ir *qp_pass_select(const qp_ir *ir);

#endif

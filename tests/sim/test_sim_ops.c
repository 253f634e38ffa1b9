/* SPDX-License-Identifier: MIT */
/* The simulator's arithmetic, instruction by instruction, against values worked out by hand. */
#include "tests/sim/sim_kit.h"

#define M1  0xffffffffu
#define M1L UINT64_C(0xffffffffffffffff)
#define ROW(t, ty, want, ...)                                                                      \
  { t, ty, {__VA_ARGS__}, want }

Test(sim_ops, integers_add_subtract_and_wrap) {
  static const kit_row rows[] = {
      ROW("add.s32 D, A, B;", "www", 1, M1, 2),
      ROW("add.u32 D, A, 7;", "ww", 3, 0xfffffffc),
      ROW("add.sat.s32 D, A, B;", "www", 0x7fffffff, 0x7fffffff, 1),
      ROW("sub.sat.s32 D, A, B;", "www", 0x80000000, 0x80000000, 1),
      ROW("sub.s32 D, A, B;", "www", 0xfffffffe, 1, 3),
      ROW("add.s64 D, A, B;", "ddd", UINT64_C(0x100000000), M1, 1),
      ROW("sub.s64 D, A, B;", "ddd", M1L, 1, 2),
      ROW("add.s16 D, A, B;", "hhh", 0x0001, 0xffff, 2),
      ROW("sub.u16 D, A, B;", "hhh", 0xffff, 1, 2),
      ROW("add.u16x2 D, A, B;", "www", 0x00010000, 0x0000ffff, 0x00010001),
      ROW("min.u16x2 D, A, B;", "www", 0x00018000, 0xffff8000, 0x00018001),
      ROW("max.u16x2 D, A, B;", "www", 0xffff8001, 0xffff8000, 0x00018001),
      ROW("min.s16x2 D, A, B;", "www", 0xffff8000, 0xffff8000, 0x00018001),
      ROW("max.s16x2 D, A, B;", "www", 0x00018001, 0xffff8000, 0x00018001),
      ROW("neg.s32 D, A;", "ww", 0x80000000, 0x80000000),
      ROW("abs.s32 D, A;", "ww", 5, 0xfffffffb),
      ROW("neg.s64 D, A;", "dd", M1L, 1),
      ROW("abs.s64 D, A;", "dd", 3, UINT64_C(0xfffffffffffffffd)),
      ROW("neg.s16 D, A;", "hh", 0xffff, 1),
      ROW("abs.s16 D, A;", "hh", 1, 0xffff),
      ROW("min.s32 D, A, B;", "www", 0xffffffff, 0xffffffff, 1),
      ROW("min.u32 D, A, B;", "www", 1, 0xffffffff, 1),
      ROW("max.s32 D, A, B;", "www", 1, 0xffffffff, 1),
      ROW("max.u32 D, A, B;", "www", 0xffffffff, 0xffffffff, 1),
      ROW("max.relu.s32 D, A, B;", "www", 0, 0xffffffff, 0xfffffff0),
      ROW("min.s64 D, A, B;", "ddd", M1L, M1L, 1),
      ROW("max.u64 D, A, B;", "ddd", M1L, M1L, 1),
      ROW("min.s16 D, A, B;", "hhh", 0x8000, 0x8000, 0x7fff),
      ROW("max.u16 D, A, B;", "hhh", 0x8000, 0x8000, 0x7fff),
      ROW("sad.u32 D, A, B, C;", "wwww", 103, 5, 8, 100),
      ROW("sad.s32 D, A, B, C;", "wwww", 3, 0xffffffff, 2, 0),
  };
  KIT_ROWS("sim", rows);
}

Test(sim_ops, integers_multiply_and_divide) {
  static const kit_row rows[] = {
      ROW("mul.lo.s32 D, A, B;", "www", 0x2468acf0, 0x12345678, 2),
      ROW("mul.lo.u32 D, A, B;", "www", 1, M1, M1),
      ROW("mul.hi.u32 D, A, B;", "www", 0xfffffffe, M1, M1),
      ROW("mul.hi.s32 D, A, B;", "www", 0, M1, M1),
      ROW("mul.hi.s32 D, A, B;", "www", M1, M1, 5),
      ROW("mul.wide.u32 D, A, B;", "dww", UINT64_C(0xfffffffe00000001), M1, M1),
      ROW("mul.wide.s32 D, A, B;", "dww", UINT64_C(0xfffffffffffffffe), M1, 2),
      ROW("mul.wide.u16 D, A, B;", "whh", 0xfffe0001, 0xffff, 0xffff),
      ROW("mul.wide.s16 D, A, B;", "whh", 1, 0xffff, 0xffff),
      ROW("mul.lo.s16 D, A, B;", "hhh", 0x1000, 0x0110, 0x0100),
      ROW("mul.lo.s64 D, A, B;", "ddd", UINT64_C(0x2000000000), UINT64_C(0x100000000), 32),
      ROW("mul.hi.u64 D, A, B;", "ddd", 1, UINT64_C(0x8000000000000000), 2),
      ROW("mul.hi.s64 D, A, B;", "ddd", M1L, UINT64_C(0x8000000000000000), 2),
      ROW("mad.lo.s32 D, A, B, C;", "wwww", 47, 6, 7, 5),
      ROW("mad.hi.u32 D, A, B, C;", "wwww", 6, 0x80000000, 2, 5),
      ROW("mad.lo.s64 D, A, B, C;", "dddd", 47, 6, 7, 5),
      ROW("mad.wide.u32 D, A, B, C;", "dwwd", UINT64_C(0x200000001), M1, 2, 3),
      ROW("mad.wide.s32 D, A, B, C;", "dwwd", 1, M1, 2, 3),
      ROW("mad.lo.u16 D, A, B, C;", "hhhh", 47, 6, 7, 5),
      ROW("mul24.lo.u32 D, A, B;", "www", 0x2, 0xff000001, 2),
      ROW("mul24.lo.s32 D, A, B;", "www", 0xfffffffe, 0x00ffffff, 2),
      ROW("div.s32 D, A, B;", "www", 0xfffffffd, 0xfffffff9, 2),
      ROW("rem.s32 D, A, B;", "www", 0xffffffff, 0xfffffff9, 2),
      ROW("div.s32 D, A, B;", "www", 0x80000000, 0x80000000, M1),
      ROW("rem.s32 D, A, B;", "www", 0, 0x80000000, M1),
      ROW("div.u32 D, A, B;", "www", 0x7ffffffc, 0xfffffff9, 2),
      ROW("div.u32 D, A, B;", "www", M1, 7, 0),
      ROW("rem.u32 D, A, B;", "www", 1, 0xfffffff9, 2),
      ROW("div.s64 D, A, B;", "ddd", UINT64_C(0x8000000000000000), UINT64_C(0x8000000000000000),
          M1L),
      ROW("rem.u64 D, A, B;", "ddd", 5, 105, 10),
      ROW("div.s16 D, A, B;", "hhh", 0xfffd, 0xfff9, 2),
      ROW("rem.u16 D, A, B;", "hhh", 3, 13, 5),
      ROW("dp4a.s32.s32 D, A, B, C;", "wwww", 100 + 1 * 2 + 127 * 3 - 1 + 2 * 2, 0x017fff02,
          0x02030102, 100),
      ROW("dp4a.u32.u32 D, A, B, C;", "wwww", 255 * 4, 0xffffffff, 0x01010101, 0),
      ROW("dp4a.u32.s32 D, A, B, C;", "wwww", 0u - 255 * 4, 0xffffffff, 0xffffffff, 0),
      ROW("dp2a.lo.s32.s32 D, A, B, C;", "wwww", 7 - 6, 0xfffe0007, 0x09090301, 0),
      ROW("dp2a.hi.u32.u32 D, A, B, C;", "wwww", 2 * 5 + 3 * 6, 0x00030002, 0x06050000, 0),
  };
  KIT_ROWS("sim", rows);
}

Test(sim_ops, carries_run_through_chains) {
  static const kit_row rows[] = {
      ROW("add.cc.u32 D, A, B; addc.u32 D, 0, 0;", "www", 1, M1, 1),
      ROW("add.cc.u32 D, A, B; addc.u32 D, 0, 0;", "www", 0, M1, 0),
      ROW("add.cc.u32 D, A, B; addc.cc.u32 D, A, 0; addc.u32 D, 0, 0;", "www", 1, M1, 1),
      ROW("sub.cc.u32 D, A, B; subc.u32 D, 0, 0;", "www", M1, 0, 1),
      ROW("sub.cc.u32 D, A, B; subc.u32 D, 5, 0;", "www", 5, 1, 1),
      ROW("mad.lo.cc.u32 D, A, B, C; madc.hi.u32 D, A, B, 0;", "wwww", M1, M1, M1, M1),
      ROW("mad.lo.cc.u32 D, A, B, C; madc.hi.u32 D, A, B, 0;", "wwww", 0xfffffffe, M1, M1, 0),
      ROW("add.cc.u64 D, A, B; addc.u64 D, 0, 0;", "ddd", 1, M1L, 1),
      ROW("add.cc.s32 D, A, B; addc.s32 D, A, A;", "www", 1, 0x80000000, 0x80000000),
  };
  KIT_ROWS("sim", rows);
}

Test(sim_ops, bits_combine_and_shift) {
  static const kit_row rows[] = {
      ROW("and.b32 D, A, B;", "www", 0x0f000f00, 0xff00ff00, 0x0f0f0f0f),
      ROW("or.b32 D, A, B;", "www", 0xff0fff0f, 0xff00ff00, 0x0f0f0f0f),
      ROW("xor.b32 D, A, B;", "www", 0xf00ff00f, 0xff00ff00, 0x0f0f0f0f),
      ROW("not.b32 D, A;", "ww", 0x00ff00ff, 0xff00ff00),
      ROW("cnot.b32 D, A;", "ww", 1, 0),
      ROW("and.b64 D, A, B;", "ddd", UINT64_C(0xf0f0f0f000000000), UINT64_C(0xf0f0f0f00f0f0f0f),
          UINT64_C(0xffffffff00000000)),
      ROW("not.b16 D, A;", "hh", 0x00ff, 0xff00),
      ROW("xor.b16 D, A, B;", "hhh", 0x8001, 0x8000, 1),
      ROW("shl.b32 D, A, B;", "www", 0x80000000, 1, 31),
      ROW("shl.b32 D, A, B;", "www", 0, 1, 32),
      ROW("shr.u32 D, A, B;", "www", 1, 0x80000000, 31),
      ROW("shr.s32 D, A, B;", "www", M1, 0x80000000, 40),
      ROW("shl.b64 D, A, B;", "ddw", UINT64_C(1) << 63, 1, 63),
      ROW("shr.s64 D, A, B;", "ddw", M1L, UINT64_C(1) << 63, 64),
      ROW("shr.u64 D, A, B;", "ddw", 0, UINT64_C(1) << 63, 64),
      ROW("shl.b16 D, A, B;", "hhw", 0xfffe, 0xffff, 1),
      ROW("shr.s16 D, A, B;", "hhw", 0xffff, 0x8000, 15),
      ROW("shf.r.wrap.b32 D, A, B, C;", "wwww", 0x789abcde, 0x9abcdef0, 0x12345678, 8),
      ROW("shf.l.wrap.b32 D, A, B, C;", "wwww", 0x3456789a, 0x9abcdef0, 0x12345678, 40),
      ROW("shf.r.clamp.b32 D, A, B, C;", "wwww", 0x12345678, 0x9abcdef0, 0x12345678, 40),
      ROW("shf.l.clamp.b32 D, A, B, C;", "wwww", 0x9abcdef0, 0x9abcdef0, 0x12345678, 99),
  };
  KIT_ROWS("sim", rows);
}

Test(sim_ops, bits_are_counted_and_cut_out) {
  static const kit_row rows[] = {
      ROW("clz.b32 D, A;", "ww", 32, 0),
      ROW("clz.b32 D, A;", "ww", 11, 0x00100000),
      ROW("clz.b64 D, A;", "wd", 33, 0x40000000),
      ROW("popc.b32 D, A;", "ww", 16, 0xf0f0f0f0),
      ROW("popc.b64 D, A;", "wd", 64, M1L),
      ROW("brev.b32 D, A;", "ww", 0x80000001, 0x80000001),
      ROW("brev.b32 D, A;", "ww", 0x1e6a2c48, 0x12345678),
      ROW("brev.b64 D, A;", "dd", UINT64_C(1) << 63, 1),
      ROW("bfind.u32 D, A;", "ww", 20, 0x00100000),
      ROW("bfind.u32 D, A;", "ww", M1, 0),
      ROW("bfind.s32 D, A;", "ww", 3, 0xfffffff7),
      ROW("bfind.shiftamt.u32 D, A;", "ww", 11, 0x00100000),
      ROW("bfind.u64 D, A;", "wd", 40, UINT64_C(1) << 40),
      ROW("bfe.u32 D, A, B, C;", "wwww", 0x67, 0x12345678, 4, 8),
      ROW("bfe.s32 D, A, B, C;", "wwww", 0xfffffff8, 0x00000080, 4, 4),
      ROW("bfe.s32 D, A, B, C;", "wwww", 0xfffffff8, 0x80000000, 28, 20),
      ROW("bfe.u32 D, A, B, C;", "wwww", 0, 0x12345678, 4, 0),
      ROW("bfe.u64 D, A, B, C;", "ddww", 0x5, UINT64_C(0x5000000000), 36, 4),
      ROW("bfi.b32 D, A, B, 8, 4;", "www", 0xfffff5ff, 0x5, M1),
      ROW("bfi.b32 D, A, B, 40, 4;", "www", M1, 0x5, M1),
      ROW("bfi.b64 D, A, B, 60, 8;", "ddd", UINT64_C(0x5fffffffffffffff), 0x5, M1L),
      ROW("bmsk.clamp.b32 D, A, B;", "www", 0xff0, 4, 8),
      ROW("szext.clamp.s32 D, A, B;", "www", 0xfffffff8, 0x8, 4),
      ROW("szext.clamp.u32 D, A, B;", "www", 0x8, 0xf8, 4),
  };
  KIT_ROWS("sim", rows);
}

Test(sim_ops, bits_are_selected_and_permuted) {
  static const kit_row rows[] = {
      ROW("lop3.b32 D, A, B, C, 0x96;", "wwww", 0xff00ff00 ^ 0x0f0f0f0f ^ 0x33333333, 0xff00ff00,
          0x0f0f0f0f, 0x33333333),
      ROW("lop3.b32 D, A, B, C, 0xe8;", "wwww", 0x3f033f03 | 0x0f000f00, 0xff00ff00, 0x0f0f0f0f,
          0x33333333),
      ROW("lop3.b32 D, A, B, C, 0x2;", "wwww", 0x00300030, 0xff00ff00, 0x0f0f0f0f, 0x33333333),
      ROW("prmt.b32 D, A, B, 0x7531;", "www", 0x89cd0145, 0x01234567, 0x89abcdef),
      ROW("prmt.b32 D, A, B, 0x0123;", "www", 0x67452301, 0x01234567, 0x89abcdef),
      ROW("prmt.b32 D, A, B, 0xfc80;", "www", 0xffff0067, 0x01234567, 0x89abcdef),
      ROW("prmt.b32.rc16 D, A, B, 1;", "www", 0x01230123, 0x01234567, 0),
      ROW("prmt.b32.f4e D, A, B, 1;", "www", 0xef012345, 0x01234567, 0x89abcdef),
      ROW("prmt.b32.ecl D, A, B, 2;", "www", 0x01232323, 0x01234567, 0),
      ROW("selp.b32 D, A, B, C;", "wwwp", 1, 1, 2, 1),
      ROW("selp.b64 D, A, B, C;", "dddp", 2, 1, 2, 0),
      ROW("selp.b16 D, A, B, C;", "hhhp", 2, 1, 2, 0),
      ROW("slct.u32.s32 D, A, B, C;", "wwww", 2, 1, 2, M1),
      ROW("slct.b32.f32 D, A, B, C;", "wwwf", 1, 1, 2, 0),
      ROW("mov.b32 D, {A, B};", "whh", 0xabcd1234, 0x1234, 0xabcd),
      ROW("mov.b64 D, {A, B};", "dww", UINT64_C(0xabcd00001234), 0x1234, 0xabcd),
      ROW("mov.b32 {%h1, D}, A;", "hw", 0xabcd, 0xabcd1234),
      ROW("mov.b64 {_, D}, A;", "wd", 0x12345678, UINT64_C(0x1234567800000001)),
      ROW("mov.b64 {%h1, %h2, D, %h4}, A;", "hd", 0x5678, UINT64_C(0x1234567800000001)),
      ROW("mov.u32 D, 0x80000000;", "w", 0x80000000, 0),
      ROW("mov.u32 D, -3;", "w", 0xfffffffd, 0),
      ROW("mov.b64 D, 0d3FF0000000000000;", "d", UINT64_C(0x3ff0000000000000), 0),
      ROW("mov.f32 D, 0fC0400000;", "f", 0xc0400000, 0),
  };
  KIT_ROWS("sim", rows);
}

Test(sim_ops, comparisons_and_predicates) {
  static const kit_row rows[] = {
      ROW("setp.lt.s32 D, A, B;", "pww", 1, M1, 0),
      ROW("setp.lt.u32 D, A, B;", "pww", 0, M1, 0),
      ROW("setp.hs.u32 D, A, B;", "pww", 1, M1, 0),
      ROW("setp.eq.s64 D, A, B;", "pdd", 1, M1L, M1L),
      ROW("setp.gt.s64 D, A, B;", "pdd", 0, M1L, 1),
      ROW("setp.ge.s16 D, A, B;", "phh", 0, 0x8000, 0),
      ROW("setp.ne.u16 D, A, B;", "phh", 1, 0x8000, 0),
      ROW("setp.lt.and.s32 D, A, B, C;", "pwwp", 0, M1, 0, 0),
      ROW("setp.lt.or.s32 D, A, B, C;", "pwwp", 1, 1, 0, 1),
      ROW("setp.lt.xor.s32 D, A, B, C;", "pwwp", 0, M1, 0, 1),
      ROW("setp.lt.and.s32 D, A, B, !C;", "pwwp", 1, M1, 0, 0),
      ROW("setp.lt.s32 %p9|D, A, B;", "pww", 0, M1, 0),
      ROW("setp.lt.f32 D, A, B;", "pff", 1, 0xbf800000, 0),
      ROW("setp.lt.f32 D, A, B;", "pff", 0, 0x7fc00000, 0),
      ROW("setp.ltu.f32 D, A, B;", "pff", 1, 0x7fc00000, 0),
      ROW("setp.neu.f32 D, A, B;", "pff", 1, 0x7fc00000, 0x7fc00000),
      ROW("setp.ne.f32 D, A, B;", "pff", 0, 0x7fc00000, 0x7fc00000),
      ROW("setp.nan.f32 D, A, B;", "pff", 1, 0, 0x7fc00000),
      ROW("setp.num.f32 D, A, B;", "pff", 1, 0, 0),
      ROW("setp.eq.f32 D, A, B;", "pff", 1, 0, 0x80000000),
      ROW("setp.eq.ftz.f32 D, A, B;", "pff", 1, 0, 1),
      ROW("setp.gt.f64 D, A, B;", "pgg", 1, UINT64_C(0x4000000000000000),
          UINT64_C(0x3ff0000000000000)),
      ROW("setp.gt.f16 D, A, B;", "phh", 1, 0x4000, 0x3c00),
      ROW("setp.lt.bf16 D, A, B;", "phh", 1, 0xbf80, 0x3f80),
      ROW("setp.gt.f16x2 D|%p9, A, B;", "pww", 0, 0x40003c00, 0x3c003c00),
      ROW("setp.gt.f16x2 %p9|D, A, B;", "pww", 1, 0x40003c00, 0x3c003c00),
      ROW("set.lt.u32.s32 D, A, B;", "www", M1, M1, 0),
      ROW("set.lt.f32.s32 D, A, B;", "fww", 0x3f800000, M1, 0),
      ROW("set.gt.u32.f32 D, A, B;", "wff", 0, M1, 0),
      ROW("set.gt.f16x2.f16x2 D, A, B;", "www", 0x3c000000, 0x40003c00, 0x3c003c00),
      ROW("and.pred D, A, B;", "ppp", 0, 1, 0),
      ROW("or.pred D, A, B;", "ppp", 1, 1, 0),
      ROW("xor.pred D, A, B;", "ppp", 0, 1, 1),
      ROW("not.pred D, A;", "pp", 0, 1),
      ROW("mov.pred D, A;", "pp", 1, 1),
      ROW("mov.pred D, -1;", "p", 1, 0),
      ROW("mov.pred D, 0;", "p", 0, 0),
      ROW("mov.u32 D, 1; @A mov.u32 D, 2;", "wp", 1, 0),
      ROW("mov.u32 D, 1; @!A mov.u32 D, 2;", "wp", 2, 0),
      ROW("testp.infinite.f32 D, A;", "pf", 1, 0xff800000),
      ROW("testp.subnormal.f32 D, A;", "pf", 1, 5),
      ROW("testp.notanumber.f32 D, A;", "pf", 0, 0xff800000),
  };
  KIT_ROWS("sim", rows);
}

Test(sim_ops, floats_round_as_asked) {
  static const kit_row rows[] = {
      /* 1 + 2^-24 is a tie; 1 + 3 * 2^-25 lies above it */
      ROW("add.f32 D, A, B;", "fff", 0x3f800000, 0x3f800000, 0x33800000),
      ROW("add.rn.f32 D, A, B;", "fff", 0x3f800001, 0x3f800000, 0x33c00000),
      ROW("add.rz.f32 D, A, B;", "fff", 0x3f800000, 0x3f800000, 0x33c00000),
      ROW("add.rp.f32 D, A, B;", "fff", 0x3f800001, 0x3f800000, 0x00000001),
      ROW("add.rm.f32 D, A, B;", "fff", 0xbf800001, 0xbf800000, 0x80000001),
      ROW("sub.f32 D, A, B;", "fff", 0xbf800000, 0x3f800000, 0x40000000),
      ROW("sub.rp.f32 D, A, B;", "fff", 0x3f800000, 0x3f800000, 0x00000001),
      ROW("sub.rm.f32 D, A, B;", "fff", 0x3f7fffff, 0x3f800000, 0x00000001),
      ROW("mul.f32 D, A, B;", "fff", 0x40c00000, 0x40000000, 0x40400000),
      ROW("mul.rz.f32 D, A, B;", "fff", 0x3f800002, 0x3f800001, 0x3f800001),
      ROW("mul.rp.f32 D, A, B;", "fff", 0x3f800003, 0x3f800001, 0x3f800001),
      ROW("mul.f32 D, A, B;", "fff", 0x00400000, 0x00800000, 0x3f000000),
      ROW("mul.ftz.f32 D, A, B;", "fff", 0, 0x00800000, 0x3f000000),
      ROW("add.ftz.f32 D, A, B;", "fff", 0x80000000, 0x80000001, 0x80000001),
      ROW("add.sat.f32 D, A, B;", "fff", 0x3f800000, 0x3f800000, 0x3f800000),
      ROW("add.sat.f32 D, A, B;", "fff", 0, 0x7fc00000, 0x3f800000),
      ROW("fma.rn.f32 D, A, B, C;", "ffff", 0xa8800000, 0x3f800001, 0x3f7ffffe, 0xbf800000),
      /* Below the normal numbers: ties, and what is nearly one. */
      ROW("fma.rn.f32 D, A, B, C;", "ffff", 6, 0x1ac00000, 0x1ac00000, 1),
      ROW("fma.rn.f32 D, A, B, C;", "ffff", 6, 0x1ac00000, 0x1ac00000, 2),
      ROW("fma.rn.f32 D, A, B, C;", "ffff", 0x00400001, 0x1a000001, 0x19fffffe, 0x00400001),
      ROW("fma.rn.f32 D, A, B, C;", "ffff", 0x00800002, 0x1a800000, 0x1a800000, 0x00800000),
      ROW("fma.rn.f32 D, A, B, C;", "ffff", 0x80000000, 0x80000000, 0x1a800000, 0x80000000),
      ROW("fma.rn.f32 D, A, B, C;", "ffff", 0x7f800000, 0x7f800000, 0x1a800000, 1),
      ROW("fma.rz.f32 D, A, B, C;", "ffff", 0x3f800000, 0x3f800000, 0x3f800000, 0x33000000),
      ROW("neg.f32 D, A;", "ff", 0x80000000, 0),
      ROW("abs.f32 D, A;", "ff", 0x3f800000, 0xbf800000),
      ROW("neg.ftz.f32 D, A;", "ff", 0x80000000, 5),
      ROW("min.f32 D, A, B;", "fff", 0x80000000, 0, 0x80000000),
      ROW("max.f32 D, A, B;", "fff", 0, 0, 0x80000000),
      ROW("min.f32 D, A, B;", "fff", 0x3f800000, 0x7fc00000, 0x3f800000),
      ROW("max.NaN.f32 D, A, B;", "fff", 0x7fffffff, 0x7fc00000, 0x3f800000),
      ROW("copysign.f32 D, A, B;", "fff", 0xc0000000, 0xbf800000, 0x40000000),
  };
  KIT_ROWS("sim", rows);
}

Test(sim_ops, floats_divide_and_take_functions) {
  static const kit_row rows[] = {
      ROW("div.rn.f32 D, A, B;", "fff", 0x3eaaaaab, 0x3f800000, 0x40400000),
      ROW("div.rz.f32 D, A, B;", "fff", 0x3eaaaaaa, 0x3f800000, 0x40400000),
      ROW("div.full.f32 D, A, B;", "fff", 0x7f800000, 0x3f800000, 0),
      ROW("rcp.approx.ftz.f32 D, A;", "ff", 0x3f000000, 0x40000000),
      ROW("rcp.rn.f32 D, A;", "ff", 0x3eaaaaab, 0x40400000),
      ROW("sqrt.rn.f32 D, A;", "ff", 0x3fb504f3, 0x40000000),
      ROW("rsqrt.approx.f32 D, A;", "ff", 0x3f000000, 0x40800000),
      ROW("ex2.approx.f32 D, A;", "ff", 0x41000000, 0x40400000),
      ROW("lg2.approx.f32 D, A;", "ff", 0x40400000, 0x41000000),
      ROW("sin.approx.f32 D, A;", "ff", 0, 0),
      ROW("cos.approx.f32 D, A;", "ff", 0x3f800000, 0),
      ROW("tanh.approx.f32 D, A;", "ff", 0xbf800000, 0xff800000),
      ROW("add.f64 D, A, B;", "ggg", UINT64_C(0x4008000000000000), UINT64_C(0x3ff0000000000000),
          UINT64_C(0x4000000000000000)),
      ROW("fma.rn.f64 D, A, B, C;", "gggg", UINT64_C(0x401c000000000000),
          UINT64_C(0x4000000000000000), UINT64_C(0x4008000000000000), UINT64_C(0x3ff0000000000000)),
      ROW("div.rz.f64 D, A, B;", "ggg", UINT64_C(0x3fd5555555555555), UINT64_C(0x3ff0000000000000),
          UINT64_C(0x4008000000000000)),
      ROW("div.rp.f64 D, A, B;", "ggg", UINT64_C(0x3fd5555555555556), UINT64_C(0x3ff0000000000000),
          UINT64_C(0x4008000000000000)),
      ROW("sqrt.rn.f64 D, A;", "gg", UINT64_C(0x4000000000000000), UINT64_C(0x4010000000000000)),
      ROW("neg.f64 D, A;", "gg", UINT64_C(0xc010000000000000), UINT64_C(0x4010000000000000)),
      ROW("min.f64 D, A, B;", "ggg", UINT64_C(0x3ff0000000000000), UINT64_C(0x3ff0000000000000),
          UINT64_C(0x7ff8000000000000)),
  };
  KIT_ROWS("sim", rows);
}

/* 0x3c00 is 1; the last place of 1 is 2^-10; 0x0001 is 2^-24; 0x7bff is 65504. */
Test(sim_ops, half_arithmetic_rounds_once) {
  static const kit_row rows[] = {
      ROW("add.f16 D, A, B;", "hhh", 0x3c00, 0x3c00, 0x1000), /* 1 + 2^-11: tie to even */
      ROW("add.f16 D, A, B;", "hhh", 0x3c02, 0x3c01, 0x1000), /* tie to even, upwards */
      ROW("add.f16 D, A, B;", "hhh", 0x3c01, 0x3c00, 0x1001), /* just above the tie */
      ROW("sub.f16 D, A, B;", "hhh", 0x3c00, 0x3c00, 0x0001),
      ROW("add.f16 D, A, B;", "hhh", 0x0002, 0x0001, 0x0001), /* subnormals are exact */
      ROW("add.ftz.f16 D, A, B;", "hhh", 0, 0x0001, 0x0001),
      ROW("mul.f16 D, A, B;", "hhh", 0x0000, 0x0001, 0x3800), /* 2^-25: tie to 0 */
      ROW("mul.f16 D, A, B;", "hhh", 0x0002, 0x0003, 0x3800), /* 1.5 * 2^-24 */
      ROW("add.f16 D, A, B;", "hhh", 0x7c00, 0x7bff, 0x4c00), /* 65504 + 16 overflows */
      ROW("add.f16 D, A, B;", "hhh", 0x7bff, 0x7bff, 0x4b80), /* 65504 + 15 does not */
      ROW("add.sat.f16 D, A, B;", "hhh", 0x3c00, 0x3c00, 0x3c00),
      ROW("add.f16 D, A, B;", "hhh", 0x7fff, 0x7c00, 0xfc00),
      /* (1 + 3 * 2^-10)^2 - 1 = 6 * 2^-10 + 9 * 2^-20: the product is not rounded before the sum */
      ROW("fma.rn.f16 D, A, B, C;", "hhhh", 0x1e02, 0x3c03, 0x3c03, 0xbc00),
      /* (1 + 2^-10) * (2^-11 + 2^-21) + 1 lies above the tie at 1 + 2^-11 */
      ROW("fma.rn.f16 D, A, B, C;", "hhhh", 0x3c01, 0x1001, 0x3c00, 0x3c00),
      /* 2048 * 32 (overflow) - 32 = 65504: no overflow in between */
      ROW("fma.rn.f16 D, A, B, C;", "hhhh", 0x7bff, 0x6800, 0x5000, 0xd000),
      ROW("fma.rn.relu.f16 D, A, B, C;", "hhhh", 0, 0x3c00, 0xbc00, 0),
      ROW("neg.f16 D, A;", "hh", 0x8000, 0),
      ROW("abs.f16 D, A;", "hh", 0x3c00, 0xbc00),
      ROW("min.f16 D, A, B;", "hhh", 0x8000, 0, 0x8000),
      ROW("max.f16 D, A, B;", "hhh", 0x3c00, 0x7e00, 0x3c00),
      ROW("max.NaN.f16 D, A, B;", "hhh", 0x7fff, 0x7e00, 0x3c00),
      ROW("add.f16x2 D, A, B;", "www", 0x40003c01, 0x3c003c00, 0x3c001001),
      ROW("mul.f16x2 D, A, B;", "www", 0xc6004400, 0x40004000, 0xc2004000),
      ROW("sub.f16x2 D, A, B;", "www", 0x00003c00, 0x40004000, 0x40003c00),
      ROW("fma.rn.f16x2 D, A, B, C;", "wwww", 0x1e023c01, 0x3c031001, 0x3c033c00, 0xbc003c00),
      ROW("neg.f16x2 D, A;", "ww", 0xbc003c00, 0x3c00bc00),
      ROW("abs.f16x2 D, A;", "ww", 0x3c003c00, 0x3c00bc00),
      ROW("max.f16x2 D, A, B;", "www", 0x40003c00, 0x3c003c00, 0x4000bc00),
      ROW("ex2.approx.f16 D, A;", "hh", 0x4400, 0x4000),
      ROW("tanh.approx.f16x2 D, A;", "ww", 0x3c000000, 0x7c000000),
      /* bf16: the last place of 1 is 2^-7 */
      ROW("add.bf16 D, A, B;", "hhh", 0x3f80, 0x3f80, 0x3b80), /* 1 + 2^-8 */
      ROW("add.bf16 D, A, B;", "hhh", 0x3f81, 0x3f80, 0x3b81),
      ROW("fma.rn.bf16 D, A, B, C;", "hhhh", 0x3d42, 0x3f83, 0x3f83, 0xbf80),
      /* 7 * 37/256 = 1 + 3/256 is a tie, and -2^-100, lost in fp64, breaks it downwards */
      ROW("fma.rn.bf16 D, A, B, C;", "hhhh", 0x3f81, 0x40e0, 0x3e14, 0x8d80),
      ROW("fma.rn.bf16 D, A, B, C;", "hhhh", 0x3f82, 0x40e0, 0x3e14, 0x0000),
      ROW("mul.bf16x2 D, A, B;", "www", 0x40c0bf80, 0x40003f80, 0x4040bf80),
      ROW("fma.rn.bf16x2 D, A, B, C;", "wwww", 0x40e03d42, 0x40003f83, 0x40403f83, 0x3f80bf80),
      ROW("sub.bf16x2 D, A, B;", "www", 0x3f800000, 0x40003f80, 0x3f803f80),
      ROW("max.bf16x2 D, A, B;", "www", 0x40403f80, 0x40003f80, 0x4040bf80),
  };
  KIT_ROWS("sim", rows);
}

Test(sim_ops, conversions_of_integers_and_wide_floats) {
  static const kit_row rows[] = {
      ROW("cvt.u64.u32 D, A;", "dw", M1, M1),
      ROW("cvt.s64.s32 D, A;", "dw", M1L, M1),
      ROW("cvt.u32.u64 D, A;", "wd", 0x9abcdef0, UINT64_C(0x123456789abcdef0)),
      ROW("cvt.u32.u16 D, A;", "wh", 0xffff, 0xffff),
      ROW("cvt.s32.s16 D, A;", "wh", M1, 0xffff),
      ROW("cvt.u16.u32 D, A;", "hw", 0x5678, 0x12345678),
      ROW("cvt.s32.s8 D, A;", "ww", 0xffffff80, 0x180),
      ROW("cvt.u32.u8 D, A;", "ww", 0x80, 0x180),
      ROW("cvt.s16.s8 D, A;", "hh", 0xff80, 0x180),
      ROW("cvt.u8.u32 D, A;", "hw", 0x78, 0x12345678),
      ROW("cvt.s8.s32 D, A;", "ww", 0xffffffee, 0x123456ee),
      ROW("cvt.u16.s8 D, A;", "ww", 0xffee, 0x123456ee),
      ROW("cvt.s16.u16 D, A;", "ww", 0xffff8001, 0x8001),
      ROW("cvt.u8.s16 D, A;", "hh", 0x01, 0x8001),
      ROW("cvt.u32.s8 D, A;", "wh", 0xffffffee, 0x56ee),
      ROW("cvt.sat.u8.s32 D, A;", "ww", 0, M1),
      ROW("cvt.sat.s8.s32 D, A;", "ww", 0x7f, 300),
      ROW("cvt.sat.u16.u32 D, A;", "hw", 0xffff, 70000),
      ROW("cvt.pack.sat.s16.s32 D, A, B;", "www", 0x7fff8000, 32768, 0xffff7fff),
      ROW("cvt.pack.sat.s16.s32 D, A, B;", "www", 0xfffe7ffe, 0xfffffffe, 32766),
      ROW("cvt.pack.sat.u16.s32 D, A, B;", "www", 0xffff0000, 65536, M1),
      ROW("cvt.rn.f32.s32 D, A;", "fw", 0xbf800000, M1),
      ROW("cvt.rn.f32.u32 D, A;", "fw", 0x4f800000, M1),
      ROW("cvt.rz.f32.u32 D, A;", "fw", 0x4f7fffff, M1),
      ROW("cvt.rn.f32.u64 D, A;", "fd", 0x5f800000, M1L),
      ROW("cvt.rn.f64.s32 D, A;", "gw", UINT64_C(0xbff0000000000000), M1),
      ROW("cvt.rzi.s32.f32 D, A;", "wf", 0xfffffffe, 0xc0200000), /* -2.5 */
      ROW("cvt.rni.s32.f32 D, A;", "wf", 0xfffffffe, 0xc0200000),
      ROW("cvt.rmi.s32.f32 D, A;", "wf", 0xfffffffd, 0xc0200000),
      ROW("cvt.rpi.s32.f32 D, A;", "wf", 3, 0x40200000),
      ROW("cvt.rni.s32.f64 D, A;", "wg", 0xfffffffd, UINT64_C(0xc004000000000001)), /* below -2.5 */
      ROW("cvt.rni.s32.f64 D, A;", "wg", 2, UINT64_C(0x4004000000000000)),
      ROW("cvt.rzi.u32.f64 D, A;", "wg", 2, UINT64_C(0x4007ffffffffffff)),
      ROW("cvt.rni.u32.f32 D, A;", "wf", 4, 0x40600000), /* 3.5 */
      ROW("cvt.rzi.u32.f32 D, A;", "wf", 0, 0xc0200000),
      ROW("cvt.rzi.s32.f32 D, A;", "wf", 0x7fffffff, 0x7f800000),
      ROW("cvt.rzi.s32.f32 D, A;", "wf", 0, 0x7fc00000),
      ROW("cvt.rzi.s64.f64 D, A;", "dg", UINT64_C(0xfffffffffffffffe),
          UINT64_C(0xc004000000000000)),
      ROW("cvt.rni.s32.f32 D, A;", "wf", 4, 0x40600000), /* 3.5 */
      ROW("cvt.rni.s32.f32 D, A;", "wf", 0, 0x3f000000), /* 0.5 */
      ROW("cvt.rni.s32.f32 D, A;", "wf", M1, 0xbf000001),
      ROW("cvt.rni.s32.f32 D, A;", "wf", 8388609, 0x4b000001),
      ROW("cvt.rni.s32.f32 D, A;", "wf", 0x7fffff80, 0x4effffff),
      ROW("cvt.rni.s32.f32 D, A;", "wf", 0x7fffffff, 0x4f000000),
      ROW("cvt.rni.s32.f32 D, A;", "wf", 0x80000000, 0xcf000000),
      ROW("cvt.rni.s32.f32 D, A;", "wf", 0x80000000, 0xff800000),
      ROW("cvt.rni.s32.f32 D, A;", "wf", 0, 0x7fc00000),
      ROW("cvt.rni.f32.f32 D, A;", "ff", 0xc0000000, 0xc0200000),
      ROW("cvt.rpi.f32.f32 D, A;", "ff", 0x40400000, 0x40200000),
      ROW("cvt.sat.f32.f32 D, A;", "ff", 0x3f800000, 0x40200000),
      ROW("cvt.f64.f32 D, A;", "gf", UINT64_C(0x4004000000000000), 0x40200000),
      ROW("cvt.f64.f32 D, A;", "gf", UINT64_C(0xb6a0000000000000), 0x80000001),
      ROW("cvt.rn.f32.f64 D, A;", "fg", 0x7fffffff, UINT64_C(0x7ff8000000000001)),
      ROW("cvt.rn.f32.f64 D, A;", "fg", 0xff800000, UINT64_C(0xc7f0000000000000)),
      ROW("cvt.rn.f32.f64 D, A;", "fg", 0x3f800000, UINT64_C(0x3ff0000010000000)), /* tie */
      ROW("cvt.rp.f32.f64 D, A;", "fg", 0x3f800001, UINT64_C(0x3ff0000000000001)),
  };
  KIT_ROWS("sim", rows);
}

Test(sim_ops, conversions_of_narrow_floats) {
  static const kit_row rows[] = {
      ROW("cvt.rn.f16.f32 D, A;", "hf", 0x3c00, 0x3f801000), /* 1 + 2^-11 */
      ROW("cvt.rn.f16.f32 D, A;", "hf", 0x3c02, 0x3f803000),
      ROW("cvt.rz.f16.f32 D, A;", "hf", 0x3c00, 0x3f801fff),
      ROW("cvt.rp.f16.f32 D, A;", "hf", 0x3c01, 0x3f800001),
      ROW("cvt.rm.f16.f32 D, A;", "hf", 0xbc01, 0xbf800001),
      ROW("cvt.rz.f16.f32 D, A;", "hf", 0x7bff, 0x7f000000),
      ROW("cvt.rn.f16.f32 D, A;", "hf", 0x7c00, 0x477ff000), /* 65520 */
      ROW("cvt.rn.f16.f32 D, A;", "hf", 0x0000, 0x33000000), /* 2^-25 */
      ROW("cvt.rn.f16.f32 D, A;", "hf", 0x0001, 0x33000001),
      ROW("cvt.rn.relu.f16.f32 D, A;", "hf", 0, 0xbf800000),
      ROW("cvt.f32.f16 D, A;", "fh", 0x33800000, 1),
      ROW("cvt.f64.f16 D, A;", "gh", UINT64_C(0x3ff0000000000000), 0x3c00),
      ROW("cvt.rn.bf16.f32 D, A;", "hf", 0x3f80, 0x3f808000),
      ROW("cvt.rn.bf16.f32 D, A;", "hf", 0x3f82, 0x3f818000),
      ROW("cvt.f32.bf16 D, A;", "fh", 0x3f810000, 0x3f81),
      ROW("cvt.rn.f16.u16 D, A;", "hh", 0x7bff, 65504),
      ROW("cvt.rn.f16.s32 D, A;", "hw", 0xbc00, M1),
      ROW("cvt.rn.f16.s16 D, A;", "hh", 0x6800, 2049), /* tie between 2048 and 2050 */
      ROW("cvt.rn.f16.u64 D, A;", "hd", 0x7c00, M1L),
      ROW("cvt.rni.s32.f16 D, A;", "wh", 2, 0x4100), /* 2.5 */
      ROW("cvt.rzi.u16.f16 D, A;", "hh", 65504, 0x7bff),
      ROW("cvt.rn.f16x2.f32 D, A, B;", "wff", 0x3c004000, 0x3f800000, 0x40000000),
      ROW("cvt.rn.bf16x2.f32 D, A, B;", "wff", 0x3f804000, 0x3f800000, 0x40000000),
      ROW("cvt.rn.relu.f16x2.f32 D, A, B;", "wff", 0x00004000, 0xbf800000, 0x40000000),
      ROW("cvt.rna.tf32.f32 D, A;", "wf", 0x3f802000, 0x3f801000),
      ROW("cvt.rn.satfinite.e4m3x2.f32 D, A, B;", "hff", 0x387e, 0x3f800000, 0x447a0000),
      ROW("cvt.rn.satfinite.e5m2x2.f32 D, A, B;", "hff", 0x3cbc, 0x3f800000, 0xbf800000),
      ROW("cvt.rn.f16x2.e4m3x2 D, A;", "wh", 0x3c005f00, 0x387e),
      ROW("cvt.rn.f16x2.e5m2x2 D, A;", "wh", 0x3c00bc00, 0x3cbc),
  };
  kit_target = 100;
  KIT_ROWS("sim:sm_100", rows);
}

/* An instruction, and the first architecture that has it, as ptxas takes it. */
Test(sim_ops, an_instruction_of_a_later_architecture_is_refused_naming_both) {
  static const struct {
    unsigned first;
    const char *text, *named;
  } of[] = {
      {80, "cp.async.ca.shared.global [%r1], [%d0], 16;", "cp.async.ca"},
      {80, "redux.sync.add.u32 %r1, %r2, 0xffffffff;", "redux"},
      {80, "fma.rn.bf16x2 %r1, %r2, %r3, %r4;", "bf16x2"},
      {80, "max.f16x2 %r1, %r2, %r3;", "max.f16x2"},
      {80, "cvt.rn.f16x2.f32 %r1, %f1, %f2;", "cvt.rn.f16x2"},
      {80,
       "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1, %f2, %f3, %f4}, "
       "{%r1, %r2, %r3, %r4}, {%r5, %r6}, {%f1, %f2, %f3, %f4};",
       "mma.sync.aligned.m16n8k16"},
      {75,
       "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f1, %f2, %f3, %f4}, {%r1, %r2}, "
       "{%r3}, {%f1, %f2, %f3, %f4};",
       ""},
      {75, "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r1}, [%r2];", ""},
      {89, "cvt.rn.f16x2.e4m3x2 %r1, %h1;", "e4m3x2"},
      {90, "add.rn.bf16x2 %r1, %r2, %r3;", "add.rn.bf16x2"},
      {90, "griddepcontrol.wait;", "griddepcontrol.wait"},
      {90, "elect.sync %r1|%p1, 0xffffffff;", "elect"},
  };
  static const unsigned targets[] = {75, 80, 86, 89, 90};
  for (size_t i = 0; i < sizeof of / sizeof *of; i++)
    for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
      kit k;
      char both[64];
      kit_target = targets[t];
      kit_open(&k, "sim:sm_90");
      char *ptx = kit_kernel(".shared .align 16 .b8 sm[64];", of[i].text);
      const qp_status status = kit_load(&k, ptx);
      free(ptx);
      const bool has = targets[t] >= of[i].first;
      cr_expect_eq(status, has ? QP_OK : QP_E_COMPILE, "sm_%u: %s: %s", targets[t], of[i].text,
                   k.err.text);
      snprintf(both, sizeof both, "of sm_%u and later; the PTX is for sm_%u", of[i].first,
               targets[t]);
      if (!has)
        cr_expect(strstr(k.err.text, both) && strstr(k.err.text, of[i].named), "%s", k.err.text);
      kit_close(&k);
    }
}

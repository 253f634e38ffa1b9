/* SPDX-License-Identifier: MIT */
/* Reads SASS text into a listing: it names each instruction's kind, and the unit that executes it.
   */
#include "gen/inspect/sass.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "gen/inspect/disassembler.h"

/* ---- kinds ---- */

/* Operations by what stands before their first dot. */
static const struct {
  const char *operation;
  qp_kind kind;
} kinds[] = {
    {"IADD3", QP_KIND_integer_alu},
    {"IADD", QP_KIND_integer_alu},
    {"VIADD", QP_KIND_integer_alu},
    {"VIADDMNMX", QP_KIND_integer_alu},
    {"VIMNMX", QP_KIND_integer_alu},
    {"VIMNMX3", QP_KIND_integer_alu},
    {"IMNMX", QP_KIND_integer_alu},
    {"IABS", QP_KIND_integer_alu},
    {"LEA", QP_KIND_integer_alu},
    {"LOP3", QP_KIND_integer_alu},
    {"LOP32I", QP_KIND_integer_alu},
    {"PLOP3", QP_KIND_integer_alu},
    {"SHF", QP_KIND_integer_alu},
    {"SHL", QP_KIND_integer_alu},
    {"SHR", QP_KIND_integer_alu},
    {"PRMT", QP_KIND_integer_alu},
    {"SEL", QP_KIND_integer_alu},
    {"ISETP", QP_KIND_integer_alu},
    {"BMSK", QP_KIND_integer_alu},
    {"SGXT", QP_KIND_integer_alu},
    {"FLO", QP_KIND_integer_alu},
    {"POPC", QP_KIND_integer_alu},
    {"BREV", QP_KIND_integer_alu},
    {"P2R", QP_KIND_integer_alu},
    {"R2P", QP_KIND_integer_alu},
    {"MOV", QP_KIND_integer_alu},
    {"VABSDIFF", QP_KIND_integer_alu},
    {"VABSDIFF4", QP_KIND_integer_alu},
    {"IMAD", QP_KIND_integer_mul},
    {"IMUL", QP_KIND_integer_mul},
    {"IDP", QP_KIND_integer_mul},
    {"IDP4A", QP_KIND_integer_mul},
    {"IMAD32I", QP_KIND_integer_mul},
    {"HADD2", QP_KIND_half_math},
    {"HFMA2", QP_KIND_half_math},
    {"HMUL2", QP_KIND_half_math},
    {"HSETP2", QP_KIND_half_math},
    {"HSET2", QP_KIND_half_math},
    {"HMNMX2", QP_KIND_half_math},
    {"HADD2_32I", QP_KIND_half_math},
    {"HFMA2_32I", QP_KIND_half_math},
    {"HMUL2_32I", QP_KIND_half_math},
    {"FADD", QP_KIND_float_math},
    {"FADD2", QP_KIND_float_math},
    {"FFMA", QP_KIND_float_math},
    {"FFMA2", QP_KIND_float_math},
    {"FMUL", QP_KIND_float_math},
    {"FMUL2", QP_KIND_float_math},
    {"FSETP", QP_KIND_float_math},
    {"FSET", QP_KIND_float_math},
    {"FMNMX", QP_KIND_float_math},
    {"FSEL", QP_KIND_float_math},
    {"FCHK", QP_KIND_float_math},
    {"FRND", QP_KIND_float_math},
    {"MUFU", QP_KIND_float_math},
    {"FSWZADD", QP_KIND_float_math},
    {"DADD", QP_KIND_float_math},
    {"DFMA", QP_KIND_float_math},
    {"DMUL", QP_KIND_float_math},
    {"DSETP", QP_KIND_float_math},
    {"HMMA", QP_KIND_mma},
    {"IMMA", QP_KIND_mma},
    {"BMMA", QP_KIND_mma},
    {"DMMA", QP_KIND_mma},
    {"QMMA", QP_KIND_mma},
    {"OMMA", QP_KIND_mma},
    {"HGMMA", QP_KIND_mma},
    {"IGMMA", QP_KIND_mma},
    {"QGMMA", QP_KIND_mma},
    {"LDS", QP_KIND_shared_load},
    {"LDSM", QP_KIND_shared_load},
    {"STS", QP_KIND_shared_store},
    {"STSM", QP_KIND_shared_store},
    {"LDG", QP_KIND_global_load},
    {"LD", QP_KIND_global_load},
    {"LDGSTS", QP_KIND_global_load},
    {"UBLKCP", QP_KIND_global_load},
    {"UTMALDG", QP_KIND_global_load},
    {"STG", QP_KIND_global_store},
    {"ST", QP_KIND_global_store},
    {"UTMASTG", QP_KIND_global_store},
    {"ATOM", QP_KIND_atomic},
    {"ATOMG", QP_KIND_atomic},
    {"ATOMS", QP_KIND_atomic},
    {"RED", QP_KIND_atomic},
    {"REDG", QP_KIND_atomic},
    {"REDS", QP_KIND_atomic},
    {"SHFL", QP_KIND_shuffle},
    {"VOTE", QP_KIND_shuffle},
    {"VOTEU", QP_KIND_shuffle},
    {"MATCH", QP_KIND_shuffle},
    {"REDUX", QP_KIND_shuffle},
    {"CREDUX", QP_KIND_shuffle},
    {"BAR", QP_KIND_barrier},
    {"DEPBAR", QP_KIND_barrier},
    {"LDGDEPBAR", QP_KIND_barrier},
    {"MEMBAR", QP_KIND_barrier},
    {"ERRBAR", QP_KIND_barrier},
    {"FENCE", QP_KIND_barrier},
    {"SYNCS", QP_KIND_barrier},
    {"ACQBULK", QP_KIND_barrier},
    {"ARRIVES", QP_KIND_barrier},
    {"UCGABAR_ARV", QP_KIND_barrier},
    {"UCGABAR_WAIT", QP_KIND_barrier},
    {"F2F", QP_KIND_convert},
    {"F2FP", QP_KIND_convert},
    {"F2I", QP_KIND_convert},
    {"F2IP", QP_KIND_convert},
    {"I2F", QP_KIND_convert},
    {"I2FP", QP_KIND_convert},
    {"I2I", QP_KIND_convert},
    {"I2IP", QP_KIND_convert},
    {"BRA", QP_KIND_control},
    {"BRX", QP_KIND_control},
    {"BRXU", QP_KIND_control},
    {"JMP", QP_KIND_control},
    {"JMX", QP_KIND_control},
    {"CALL", QP_KIND_control},
    {"RET", QP_KIND_control},
    {"EXIT", QP_KIND_control},
    {"BSSY", QP_KIND_control},
    {"BSYNC", QP_KIND_control},
    {"BREAK", QP_KIND_control},
    {"BMOV", QP_KIND_control},
    {"WARPSYNC", QP_KIND_control},
    {"YIELD", QP_KIND_control},
    {"NANOSLEEP", QP_KIND_control},
    {"BPT", QP_KIND_control},
    {"KILL", QP_KIND_control},
    {"NOP", QP_KIND_none},
};

/* What is not in the table (uniform datapath, constants, local memory, special registers):
   other. */
static qp_kind kind_of(const char *operation, size_t length) {
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (strlen(kinds[i].operation) == length &&
        memcmp(kinds[i].operation, operation, length) == 0) {
      return kinds[i].kind;
    }
  }
  return QP_KIND_other;
}

/* ---- units ---- */

static bool has_modifier(const char *word, size_t whole, const char *modifier) {
  const size_t n = strlen(modifier);
  for (size_t i = 0; i + n <= whole; i++) {
    if (word[i] != '.' || memcmp(word + i, modifier, n) != 0) continue;
    if (i + n == whole || word[i + n] == '.') return true;
  }
  return false;
}

/* Say how many bytes a lane of a load or store has, by its modifier. */
static unsigned bytes_of(const char *word, size_t whole) {
  return has_modifier(word, whole, ".256")   ? 32
         : has_modifier(word, whole, ".128") ? 16
         : has_modifier(word, whole, ".64")  ? 8
                                             : 4;
}

static bool is_wide(const char *word, size_t whole) {
  return has_modifier(word, whole, ".WIDE") || has_modifier(word, whole, ".HI");
}

static qp_sm_unit unit_of(const char *word, size_t length, size_t whole, qp_kind kind) {
  switch (kind) {
  case QP_KIND_integer_alu: return QP_UNIT_alu;
  case QP_KIND_integer_mul: return is_wide(word, whole) ? QP_UNIT_imad_wide : QP_UNIT_imad;
  case QP_KIND_half_math: return QP_UNIT_half;
  case QP_KIND_float_math:
    return length == 4 && !memcmp(word, "MUFU", 4) ? QP_UNIT_other : QP_UNIT_ffma;
  case QP_KIND_mma: return QP_UNIT_mma;
  case QP_KIND_shared_load: return QP_UNIT_lds;
  case QP_KIND_global_load: return QP_UNIT_ldg;
  case QP_KIND_control: return QP_UNIT_branch;
  default: return QP_UNIT_other;
  }
}

/* What is counted of an operation with its modifiers: "LDG.E.NA.128". */
static qp_instruction instruction_of(const char *word, size_t length, size_t whole) {
  const qp_kind kind = kind_of(word, length);
  qp_instruction i = {.kind = kind, .unit = unit_of(word, length, whole, kind)};
  const unsigned bytes = bytes_of(word, whole);
  if (kind == QP_KIND_shared_load) i.passes = (uint8_t)(bytes / 4);
  if (kind == QP_KIND_global_load && has_modifier(word, whole, ".NA"))
    i.words = (uint8_t)(bytes / 4);
  return i;
}

/* ---- lines ---- */

static bool is_one_of(const char *operation, size_t length, const char *const *list) {
  for (; *list; list++) {
    if (strlen(*list) == length && memcmp(*list, operation, length) == 0) return true;
  }
  return false;
}

/* Read the labels that the operands of a jump name, as in BRA `(.L_x_3). */
static void read_targets(qp_listing *l, const char *at, const char *end) {
  while (at < end) {
    if (*at != '.' || end - at < 3 || at[1] != 'L' || at[2] != '_') {
      at++;
      continue;
    }
    const char *name = at++;
    while (at < end && (isalnum((unsigned char)*at) || *at == '_')) at++;
    qp_listing_branch(l, name, (size_t)(at - name));
  }
}

/*
** Read one instruction: [@predicate] OPERATION[.modifier]... operands.  BSSY names where the
** threads of a branch meet again, which is where the BSYNC that belongs to it goes on.
*/
static void read_instruction(qp_listing *l, const char *at, const char *end) {
  static const char *const jumps[] = {"BRA", "BRX", "BRXU", "JMP", "JMX", "BSSY", NULL};
  static const char *const ends[] = {"BRX", "BRXU", "JMX", "EXIT", "RET", "KILL", NULL};
  static const char *const direct[] = {"BRA", "JMP", NULL};
  bool always = true;
  if (at < end && *at == '@') {
    always = false;
    while (at < end && !isspace((unsigned char)*at)) at++;
  }
  while (at < end && isspace((unsigned char)*at)) at++;
  const char *word = at;
  while (at < end && !isspace((unsigned char)*at)) at++;
  const size_t whole = (size_t)(at - word);
  const char *dot = memchr(word, '.', whole);
  const size_t length = dot ? (size_t)(dot - word) : whole;
  if (length == 0) return;
  bool stops = is_one_of(word, length, ends);
  if (is_one_of(word, length, direct)) {
    /* with a condition among its operands ("BRA.U UP0, `(.L_x_1)") or modifiers it may go on */
    const bool split = dot && memmem(dot, (size_t)(at - dot), ".DIV", 4) != NULL;
    stops = !split && memchr(at, ',', (size_t)(end - at)) == NULL;
  }
  qp_instruction i = instruction_of(word, length, whole);
  i.stops = stops && always;
  qp_listing_add(l, &i);
  if (is_one_of(word, length, jumps)) read_targets(l, at, end);
}

/* Read a line of the kernel's section: a label, an instruction behind its address, or neither. */
static void read_line(qp_listing *l, const char *at, const char *end) {
  while (at < end && isspace((unsigned char)*at)) at++;
  if (at < end && *at == '.') {
    const char *colon = memchr(at, ':', (size_t)(end - at));
    if (colon) qp_listing_label(l, at, (size_t)(colon - at));
    return;
  }
  const char *address = memmem(at, (size_t)(end - at), "*/", 2);
  if (!address) return;
  at = address + 2;
  while (at < end && (isspace((unsigned char)*at) || *at == '{')) at++;
  const char *semicolon = memchr(at, ';', (size_t)(end - at));
  if (semicolon) read_instruction(l, at, semicolon);
}

bool qp_sass_read(qp_listing *l, const char *text, const char *kernel) {
  static const char prefix[] = ".text.";
  const size_t n = strlen(kernel);
  bool inside = false, found = false;
  while (*text) {
    const char *end = text + strcspn(text, "\n");
    const size_t length = (size_t)(end - text);
    if (length == sizeof prefix - 1 + n + 1 && memcmp(text, prefix, sizeof prefix - 1) == 0 &&
        memcmp(text + sizeof prefix - 1, kernel, n) == 0 && end[-1] == ':') {
      inside = found = true;
    } else if (inside && memmem(text, length, ".section", 8)) {
      inside = false;
    } else if (inside) {
      read_line(l, text, end);
    }
    text = *end ? end + 1 : end;
  }
  return found;
}

qp_status qp_instruction_mix_sass(const void *cubin, size_t bytes, const char *kernel,
                                  qp_instruction_mix *out, qp_error *err) {
  char *text;
  qp_status status = qp_disassemble(cubin, bytes, &text, err);
  if (status) return status;
  qp_listing *l = qp_listing_new();
  if (!l) {
    status = qp_fail(err, QP_E_NOMEM, "out of memory counting instructions");
  } else if (!qp_sass_read(l, text, kernel)) {
    status = qp_fail(err, QP_E_ARG, "cubin has no kernel '%s'", kernel);
  } else {
    status = qp_listing_instruction_mix(l, out, err);
    if (!status) out->sass = true;
  }
  qp_listing_free(l);
  free(text);
  return status;
}

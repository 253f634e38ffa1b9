/* SPDX-License-Identifier: MIT */
/* Reads cubins by a bounds-checked walk over ELF64 sections and NVIDIA's attribute records. */
#include "gen/compile/cubin.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/*
** Attribute records of .nv.info sections, each 4 bytes and, in the sized format, a payload:
**   byte 0 format   byte 1 attribute   bytes 2..3 value, or the payload's length (format SIZED)
** A payload of the records used here is { u32 symbol index, u32 value }.
*/
enum {
  FORMAT_SIZED = 4,
  ATTRIBUTE_FRAME_SIZE = 0x11,
  ATTRIBUTE_REGISTERS = 0x2f,
  ATTRIBUTE_BARRIERS = 0x4c,
};

/* Shared memory that the driver keeps for itself at the head of a block's, counted by ptxas in the
   kernel's section wherever the cubin also has a .nv.shared.reserved section (sm_90 and newer). */
enum { SMEM_RESERVED_BYTES = 1024 };

typedef struct image {
  const unsigned char *data;
  size_t bytes;
  Elf64_Ehdr head;
  Elf64_Shdr names;
} image;

static bool inside(const image *im, uint64_t offset, uint64_t length) {
  return offset <= im->bytes && length <= im->bytes - offset;
}

static bool read_at(const image *im, uint64_t offset, void *out, size_t length) {
  if (!inside(im, offset, length)) return false;
  memcpy(out, im->data + offset, length);
  return true;
}

static bool read_section(const image *im, unsigned index, Elf64_Shdr *out) {
  if (index >= im->head.e_shnum) return false;
  return read_at(im, im->head.e_shoff + (uint64_t)index * sizeof *out, out, sizeof *out);
}

/* Find a text of a string section; NULL: it does not end inside the section and the file. */
static const char *string_at(const image *im, const Elf64_Shdr *strings, uint64_t offset) {
  if (!inside(im, strings->sh_offset, strings->sh_size) || offset >= strings->sh_size) return NULL;
  const unsigned char *text = im->data + strings->sh_offset + offset;
  return memchr(text, 0, (size_t)(strings->sh_size - offset)) ? (const char *)text : NULL;
}

static bool image_open(const void *cubin, size_t bytes, image *im) {
  *im = (image){.data = cubin, .bytes = bytes};
  if (!read_at(im, 0, &im->head, sizeof im->head)) return false;
  const unsigned char *id = im->head.e_ident;
  return memcmp(id, ELFMAG, SELFMAG) == 0 && id[EI_CLASS] == ELFCLASS64 &&
         id[EI_DATA] == ELFDATA2LSB && im->head.e_machine == EM_CUDA &&
         im->head.e_shentsize == sizeof(Elf64_Shdr) && im->head.e_shoff <= bytes &&
         read_section(im, im->head.e_shstrndx, &im->names);
}

/* Find the section  prefix + kernel. */
static bool find_section(const image *im, const char *prefix, const char *kernel, Elf64_Shdr *out) {
  const size_t n = strlen(prefix);
  for (unsigned i = 0; i < im->head.e_shnum; i++) {
    Elf64_Shdr section;
    if (!read_section(im, i, &section)) return false;
    const char *name = string_at(im, &im->names, section.sh_name);
    if (name && strncmp(name, prefix, n) == 0 && strcmp(name + n, kernel) == 0) {
      *out = section;
      return true;
    }
  }
  return false;
}

static bool has_reserved_smem(const image *im) {
  static const char prefix[] = ".nv.shared.reserved.";
  for (unsigned i = 0; i < im->head.e_shnum; i++) {
    Elf64_Shdr section;
    if (!read_section(im, i, &section)) return false;
    const char *name = string_at(im, &im->names, section.sh_name);
    if (name && strncmp(name, prefix, sizeof prefix - 1) == 0) return true;
  }
  return false;
}

/* True if symbol 'index' of the symbol table at 'table' is the function 'kernel'. */
static bool symbol_is(const image *im, const Elf64_Shdr *table, uint32_t index,
                      const char *kernel) {
  Elf64_Sym symbol;
  Elf64_Shdr strings;
  if (index >= table->sh_size / sizeof symbol) return false;
  if (!inside(im, table->sh_offset, table->sh_size)) return false;
  if (!read_at(im, table->sh_offset + (uint64_t)index * sizeof symbol, &symbol, sizeof symbol) ||
      ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || !read_section(im, table->sh_link, &strings)) {
    return false;
  }
  const char *name = string_at(im, &strings, symbol.st_name);
  return name && strcmp(name, kernel) == 0;
}

typedef struct record {
  unsigned format, attribute, value; /* value: 16 bits, of records that are not sized */
  uint32_t payload[2];               /* Of records of 8 bytes or more. */
} record;

/* Read the record at *offset of a section and step over it; false at the end or if it is cut. */
static bool next_record(const image *im, const Elf64_Shdr *section, uint64_t *offset, record *out) {
  unsigned char head[4];
  if (section->sh_size < sizeof head || *offset > section->sh_size - sizeof head ||
      !inside(im, section->sh_offset, section->sh_size) ||
      !read_at(im, section->sh_offset + *offset, head, sizeof head)) {
    return false;
  }
  *out = (record){
      .format = head[0], .attribute = head[1], .value = (unsigned)(head[2] | head[3] << 8)};
  *offset += sizeof head;
  if (out->format != FORMAT_SIZED) return true;
  if (out->value > section->sh_size - *offset) return false;
  if (out->value >= sizeof out->payload) {
    memcpy(out->payload, im->data + section->sh_offset + *offset, sizeof out->payload);
  }
  *offset += out->value;
  return true;
}

/* Attributes that the file keeps for all its functions, keyed by symbol. */
static void read_shared_attributes(const image *im, const char *kernel, qp_resources *res) {
  Elf64_Shdr info, symbols;
  if (!find_section(im, ".nv.info", "", &info) || !read_section(im, info.sh_link, &symbols)) return;
  uint64_t offset = 0;
  record r;
  while (next_record(im, &info, &offset, &r)) {
    if (r.format != FORMAT_SIZED || !symbol_is(im, &symbols, r.payload[0], kernel)) continue;
    if (r.attribute == ATTRIBUTE_REGISTERS) res->registers = r.payload[1];
    if (r.attribute == ATTRIBUTE_FRAME_SIZE) res->stack_bytes = r.payload[1];
  }
}

/* Older cubins have no barrier record; there bits 20..26 of the code section's flags count them. */
static void read_barriers(const image *im, const char *kernel, const Elf64_Shdr *text,
                          qp_resources *res) {
  Elf64_Shdr info;
  res->barriers = (unsigned)(text->sh_flags >> 20 & 0x7f);
  if (!find_section(im, ".nv.info.", kernel, &info)) return;
  uint64_t offset = 0;
  record r;
  while (next_record(im, &info, &offset, &r)) {
    if (r.attribute == ATTRIBUTE_BARRIERS && r.format != FORMAT_SIZED) {
      res->barriers = r.value & 0xff;
    }
  }
}

static qp_status no_kernel(const image *im, const char *kernel, qp_error *err) {
  static const char prefix[] = ".text.";
  char list[512] = "";
  for (unsigned i = 0; i < im->head.e_shnum; i++) {
    Elf64_Shdr section;
    if (!read_section(im, i, &section)) break;
    const char *name = string_at(im, &im->names, section.sh_name);
    if (!name || strncmp(name, prefix, sizeof prefix - 1) != 0) continue;
    const size_t n = strlen(list);
    snprintf(list + n, sizeof list - n, " %s", name + sizeof prefix - 1);
  }
  return qp_fail(err, QP_E_COMPILE,
                 "cubin has no kernel '%s'; it has:%s (is the kernel extern \"C\"?)", kernel,
                 *list ? list : " none");
}

qp_status qp_cubin_resources(const void *cubin, size_t bytes, const char *kernel, qp_resources *out,
                             qp_error *err) {
  image im;
  if (!image_open(cubin, bytes, &im)) {
    return qp_fail(err, QP_E_COMPILE, "%zu bytes for kernel '%s' are not a whole CUDA ELF64 file",
                   bytes, kernel);
  }
  Elf64_Shdr text, shared;
  if (!find_section(&im, ".text.", kernel, &text)) return no_kernel(&im, kernel, err);
  qp_resources res = *out;
  res.registers = text.sh_info >> 24; /* older cubins; newer ones have a record */
  res.stack_bytes = 0;
  res.smem_static_bytes = 0;
  read_shared_attributes(&im, kernel, &res);
  read_barriers(&im, kernel, &text, &res);
  if (find_section(&im, ".nv.shared.", kernel, &shared)) {
    const uint64_t reserved = has_reserved_smem(&im) ? SMEM_RESERVED_BYTES : 0;
    const uint64_t used = shared.sh_size > reserved ? shared.sh_size - reserved : 0;
    res.smem_static_bytes = used > UINT32_MAX ? UINT32_MAX : (unsigned)used;
  }
  if (res.registers == 0 || res.registers > 255) {
    return qp_fail(err, QP_E_COMPILE, "cubin gives %u registers for kernel '%s'; 1 to 255 expected",
                   res.registers, kernel);
  }
  *out = res;
  return QP_OK;
}

uint64_t qp_cubin_code(const void *cubin, size_t bytes, const char *kernel) {
  static const char *const kinds[] = {".nv.constant", ".nv.global.init", ".rodata"};
  image im;
  Elf64_Shdr text;
  if (!image_open(cubin, bytes, &im) || !find_section(&im, ".text.", kernel, &text) ||
      !inside(&im, text.sh_offset, text.sh_size))
    return 0;
  uint64_t hash = XXH3_64bits(im.data + text.sh_offset, (size_t)text.sh_size);
  for (unsigned i = 0; i < im.head.e_shnum; i++) {
    Elf64_Shdr section;
    if (!read_section(&im, i, &section)) return 0;
    const char *name = string_at(&im, &im.names, section.sh_name);
    bool data = false;
    for (unsigned k = 0; name && k < sizeof kinds / sizeof *kinds; k++)
      data |= !strncmp(name, kinds[k], strlen(kinds[k]));
    if (!data || section.sh_type == SHT_NOBITS) continue;
    if (!inside(&im, section.sh_offset, section.sh_size)) return 0;
    hash = XXH3_64bits_withSeed(im.data + section.sh_offset, (size_t)section.sh_size, hash);
  }
  return hash ? hash : 1;
}

/* The number that stands before 'label' on the line [line, end). */
static bool number_before(const char *line, const char *end, const char *label, unsigned *out) {
  const char *at = strstr(line, label);
  if (!at || at >= end) return false;
  const char *digits = at;
  while (digits > line && digits[-1] >= '0' && digits[-1] <= '9') digits--;
  if (digits == at) return false;
  const unsigned long n = strtoul(digits, NULL, 10);
  if (n > UINT32_MAX) return false;
  *out = (unsigned)n;
  return true;
}

bool qp_ptxas_spills(const char *log, const char *kernel, unsigned *store_bytes,
                     unsigned *load_bytes) {
  static const char label[] = "Function properties for ";
  const size_t n = strlen(kernel);
  for (const char *at = log; (at = strstr(at, label)) != NULL;) {
    at += sizeof label - 1;
    if (strncmp(at, kernel, n) != 0 || at[n] != '\n') continue;
    const char *line = at + n + 1;
    const char *end = line + strcspn(line, "\n");
    unsigned stores, loads;
    if (!number_before(line, end, " bytes spill stores", &stores) ||
        !number_before(line, end, " bytes spill loads", &loads)) {
      return false;
    }
    *store_bytes = stores;
    *load_bytes = loads;
    return true;
  }
  return false;
}

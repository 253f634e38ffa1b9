/* SPDX-License-Identifier: MIT */
/* Writes the sections of a cubin that its readers look at, with PTX for machine code. */
#include "tests/fake/plain_cubin.h"

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/*
** The file is
**   ELF head | section heads | strings | symbol | record | text
** and .nv.shared has a size alone.  The strings of sections and symbols are one section.
*/
enum { NONE, STRINGS, SYMBOLS, INFO, TEXT, SHARED, SECTIONS };
enum { FORMAT_SIZED = 4, ATTRIBUTE_REGISTERS = 0x2f, REGISTERS = 32 };

typedef struct record {
  unsigned char format, attribute;
  uint16_t bytes;
  uint32_t symbol, value;
} record;

typedef struct head {
  Elf64_Ehdr elf;
  Elf64_Shdr section[SECTIONS];
  char strings[4096];
  Elf64_Sym symbol[2];
  record registers;
} head;

/* The name of the one kernel. */
static bool find_name(const char *ptx, const char **name, size_t *length) {
  static const char label[] = ".entry ";
  const char *at = strstr(ptx, label);
  if (!at || strstr(at + 1, label)) return false;
  *name = at + sizeof label - 1;
  *length = strcspn(*name, "( \n");
  return *length > 0 && *length < 1024;
}

/* Static shared memory: lines such as  .shared .align 16 .b8 name[1024]; */
static uint64_t shared_bytes(const char *ptx) {
  uint64_t sum = 0;
  for (const char *line = ptx; *line; line += strcspn(line, "\n"), line += *line == '\n') {
    const char *at = line + strspn(line, "\t ");
    if (strncmp(at, ".shared ", 8) != 0) continue;
    const char *size = memchr(at, '[', strcspn(at, "\n"));
    sum += size ? strtoull(size + 1, NULL, 10) : 8;
  }
  return sum;
}

/* What the kernel does, with '$' for its name, from behind the head of the text, where the build
   and the name of the program stand. */
static size_t copy_code(const char *ptx, const char *name, size_t length, char *to) {
  char *out = to;
  const char *at = strstr(ptx, ".version");
  for (at = at ? at : ptx; *at;) {
    const bool named = strncmp(at, name, length) == 0;
    *out++ = (char)(named ? '$' : *at);
    at += named ? length : 1;
  }
  return (size_t)(out - to);
}

/* Append a text to the strings, in up to two parts; returns its place. */
static uint32_t add_string(head *h, size_t *used, const char *text, const char *name,
                           size_t length) {
  const size_t place = *used, first = strlen(text);
  memcpy(h->strings + place, text, first);
  memcpy(h->strings + place + first, name, length);
  *used += first + length + 1;
  return (uint32_t)place;
}

static void fill_head(head *h, const char *name, size_t length, uint64_t text, uint64_t shared) {
  size_t used = 1;
  const uint32_t symbol = add_string(h, &used, "", name, length);
  h->elf = (Elf64_Ehdr){.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, 1},
                        .e_type = ET_EXEC,
                        .e_machine = EM_CUDA,
                        .e_shoff = offsetof(head, section),
                        .e_shentsize = sizeof h->section[0],
                        .e_shnum = SECTIONS,
                        .e_shstrndx = STRINGS};
  h->section[STRINGS] = (Elf64_Shdr){
      .sh_type = SHT_STRTAB, .sh_offset = offsetof(head, strings), .sh_size = sizeof h->strings};
  h->section[SYMBOLS] = (Elf64_Shdr){.sh_type = SHT_SYMTAB,
                                     .sh_offset = offsetof(head, symbol),
                                     .sh_size = sizeof h->symbol,
                                     .sh_link = STRINGS};
  h->section[INFO] = (Elf64_Shdr){.sh_name = add_string(h, &used, ".nv.info", "", 0),
                                  .sh_type = SHT_LOPROC,
                                  .sh_offset = offsetof(head, registers),
                                  .sh_size = sizeof h->registers,
                                  .sh_link = SYMBOLS};
  h->section[TEXT] = (Elf64_Shdr){.sh_name = add_string(h, &used, ".text.", name, length),
                                  .sh_type = SHT_PROGBITS,
                                  .sh_offset = sizeof *h,
                                  .sh_size = text};
  h->section[SHARED] = (Elf64_Shdr){.sh_name = add_string(h, &used, ".nv.shared.", name, length),
                                    .sh_type = SHT_NOBITS,
                                    .sh_size = shared};
  h->symbol[1] = (Elf64_Sym){
      .st_name = symbol, .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), .st_shndx = TEXT};
  h->registers = (record){FORMAT_SIZED, ATTRIBUTE_REGISTERS, 8, 1, REGISTERS};
}

void *plain_cubin(const char *ptx, size_t *bytes) {
  const char *name;
  size_t length;
  if (!find_name(ptx, &name, &length)) return NULL;
  char *file = calloc(1, sizeof(head) + strlen(ptx));
  if (!file) return NULL;
  const size_t text = copy_code(ptx, name, length, file + sizeof(head));
  fill_head((head *)(void *)file, name, length, text, shared_bytes(ptx));
  *bytes = sizeof(head) + text;
  return file;
}

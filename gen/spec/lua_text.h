/* SPDX-License-Identifier: MIT */
/* The text of a spec, token by token. */
#ifndef QP_LUA_TEXT_H
#define QP_LUA_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* A name, a number, a string or an operator of Lua. */
typedef struct qp_lua_token {
  const char *at;
  size_t length; /* 0 at the end of the text */
} qp_lua_token;

/* Find the token at or behind 'at', blanks and comments left out; the text ends with a 0. */
qp_lua_token qp_lua_token_at(const char *at);

bool qp_lua_token_is(qp_lua_token t, const char *word);
/* Is it one of some words, which end with NULL? */
bool qp_lua_token_is_one_of(qp_lua_token t, const char *const *words);

#endif

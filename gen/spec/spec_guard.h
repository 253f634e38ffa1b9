/* SPDX-License-Identifier: MIT */
/* Has a spec ask what decides:  text of a spec --> [the same with calls] --> Lua. */
#ifndef QP_SPEC_GUARD_H
#define QP_SPEC_GUARD_H

/*
** To Lua every value of a decode function is true and none equals a number, and no metamethod is
** asked: a trace cannot notice  if lt(s, 3) then  or  s == 3.  So conditions and comparisons become
** calls, which the prelude answers: they refuse values, and give the rest back.
**   if X then, elseif X then, while X do, until X, not X, X and Y     X is  _condition(X,"text")
**   X == Y, X ~= Y                                      _equal(X,Y,"text"), _unequal(X,Y,"text")
** 'text' is what stands there, for the message; line breaks stay where they are.  What stands
** before 'or' may be any value.  A text that is not Lua stays as it is, for Lua to say why.
** malloc'ed; NULL: no memory.  Thread-safe.
*/
char *qp_spec_guard(const char *text);

#endif

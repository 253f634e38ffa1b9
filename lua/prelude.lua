-- SPDX-License-Identifier: MIT
-- The spec language (lua/LANGUAGE.md): constructors of quantizers, and the values of a decode.
-- 'host' holds the primitives of gen/spec/lua_host.c, which check nothing that is checked here.

local host = ...
local op, kind, fail, constant = host.op, host.type, host.fail, host.constant
local setmetatable = host.setmetatable
local word_mt, half_mt, pair_mt = host.metatable.word, host.metatable.half, host.metatable.pair
local single_mt = host.metatable.single
local type, tostring, ipairs, pairs = type, tostring, ipairs, pairs
local format, sub, concat_text, sort = string.format, string.sub, table.concat, table.sort
local unpack, next = table.unpack, next
local tointeger = math.tointeger
local lua_abs, lua_min, lua_max, lua_select = math.abs, math.min, math.max, select

-- A vec is a list of pairs, and a half behind them where its length is odd.
local vec_mt = { __name = "vec", __metatable = false }
local PARTS, COUNT = {}, {} -- keys that no spec can name

local function is_vec(x)
  local key = type(x) == "table" and next(x) -- no metamethod is asked
  return key == PARTS or key == COUNT
end

-- "word", "half", "pair", "single", "vec" of a value, "number" or another Lua type.
local function type_of(x)
  return kind(x) or is_vec(x) and "vec" or type(x)
end

-- Where nil came from, perhaps.
local function of_nil(x)
  return x == nil and "; a table of Lua has nothing at a word: values { ... } has" or ""
end

local function describe(x)
  local t = type_of(x)
  if t == "number" then return "the number " .. tostring(x) end
  if t == "string" then
    return format("the string '%s'", #x > 40 and sub(x, 1, 40) .. "..." or x)
  end
  return t
end

-- ---- Lua numbers as operands ----

-- A Lua number as 32 bits, or an error that names 'what'.
local function to_word(x, what)
  local n = tointeger(x)
  if not n then
    fail(format("%s: %s is not an integer; half(word) is the number that a word holds", what,
      tostring(x)))
  end
  if n < -0x80000000 or n > 0xffffffff then
    fail(format("%s: %s does not fit 32 bits (-2147483648 to 4294967295)", what, tostring(x)))
  end
  return n & 0xffffffff
end

local function to_half(x, what)
  if x ~= x or lua_abs(x) >= 65520 then
    fail(format("%s: %s is no fp16 number (-65504 to 65504)", what,
      x ~= x and "nan" or tostring(x)))
  end
  return host.half(x)
end

-- A half, single or Lua number as a single; nil where it is none of them.
local function to_single(x)
  local t = type_of(x)
  if t == "half" then return op("single.of_half", 0, 0, x) end
  if t == "number" then return host.single(x) end
  return t == "single" and x or nil
end

-- Operands that must be words: values, or Lua integers.
local function words(what, ...)
  local out, n = { ... }, lua_select("#", ...)
  for i = 1, n do
    local t = type_of(out[i])
    if t == "number" then
      out[i] = to_word(out[i], what)
    elseif t ~= "word" then
      fail(format("%s: argument %d should be a word, got %s%s", what, i, describe(out[i]),
        (t == "half" or t == "pair" or t == "single") and "; use word_of(...)" or ""))
    end
  end
  return unpack(out, 1, n)
end

local function integer(what, x, lo, hi)
  local n = type(x) == "number" and tointeger(x)
  if not n or n < lo or n > hi then
    fail(format("%s should be an integer from %d to %d, got %s", what, lo, hi, describe(x)))
  end
  return n
end

-- ---- vec ----

local function halves_of(x)
  local t = type_of(x)
  if t == "half" then return { x } end
  if t == "pair" then return { op("lo", 0, 0, x), op("hi", 0, 0, x) } end
  local out = {}
  for _, part in ipairs(x[PARTS]) do
    for _, h in ipairs(halves_of(part)) do out[#out + 1] = h end
  end
  return out
end

-- Append a half, pair or vec to a list of pairs whose last item may be a half.
local function append(parts, count, x)
  local t = type_of(x)
  if t == "vec" then
    for _, part in ipairs(x[PARTS]) do count = append(parts, count, part) end
  elseif count % 2 == 0 then
    parts[#parts + 1] = x
    count = count + (t == "pair" and 2 or 1)
  else
    local h = halves_of(x)
    parts[#parts] = op("pack", 0, 0, parts[#parts], h[1])
    parts[#parts + 1] = h[2]
    count = count + #h
  end
  return count
end

local function new_vec(parts, count)
  return setmetatable({ [PARTS] = parts, [COUNT] = count }, vec_mt)
end

local function vec_of(what, ...)
  local parts, count, items = {}, 0, { ... }
  for i = 1, lua_select("#", ...) do
    local x, t = items[i], type_of(items[i])
    if t == "number" then
      x = to_half(x, what)
    elseif t == "single" then
      x = op("half.of_single", 0, 0, x)
    elseif t ~= "half" and t ~= "pair" and t ~= "vec" then
      fail(format("%s: argument %d should be a half, a pair, a vec or a number, got %s", what, i,
        describe(x)))
    end
    count = append(parts, count, x)
  end
  return new_vec(parts, count)
end

function vec_mt.__index(v, i)
  local n = v[COUNT]
  if type(i) ~= "number" or not tointeger(i) or i < 1 or i > n then
    fail(format("a vec of %d weights has the elements 1 to %d, got [%s]", n, n, describe(i)))
  end
  local part = v[PARTS][(i + 1) // 2]
  if kind(part) == "half" then return part end
  return op(i % 2 == 1 and "lo" or "hi", 0, 0, part)
end
function vec_mt.__newindex() fail("a vec cannot be changed; build another with vec(...)") end
function vec_mt.__len(v) return v[COUNT] end
function vec_mt.__tostring() return "vec" end

-- ---- Arithmetic of halves, pairs and vecs ----

local function broadcast(x, t)
  if t == "pair" and kind(x) == "half" then return op("pack", 0, 0, x, x) end
  return x
end

-- op.h or op.p of parts that are all halves and pairs; a half is spread over a pair.
local function fp_part(name, a, b, c)
  local t = (kind(a) == "pair" or kind(b) == "pair" or kind(c) == "pair") and "pair" or "half"
  local full = name .. (t == "pair" and ".p" or ".h")
  if c then return op(full, 0, 0, broadcast(a, t), broadcast(b, t), broadcast(c, t)) end
  if b then return op(full, 0, 0, broadcast(a, t), broadcast(b, t)) end
  return op(full, 0, 0, a)
end

local function part(x, i)
  if is_vec(x) then return x[PARTS][i] end
  return x
end

local function fp_op(name, what, a, b, c)
  local count
  for _, x in ipairs { a, b, c } do
    if is_vec(x) then
      if count and count ~= x[COUNT] then
        fail(format("%s: vecs of %d and %d weights", what, count, x[COUNT]))
      end
      count = x[COUNT]
    end
  end
  if not count then return fp_part(name, a, b, c) end
  for _, x in ipairs { a, b, c } do
    if kind(x) == "pair" then
      fail(what .. ": a vec with a pair; use a half (for all weights) or a vec of the same length")
    end
  end
  local parts = {}
  for i = 1, (count + 1) // 2 do parts[i] = fp_part(name, part(a, i), part(b, i), part(c, i)) end
  return new_vec(parts, count)
end

local floats = { half = true, pair = true, vec = true }

-- The same of singles, where one is a single: halves and numbers become singles.
local function single_op(name, what, a, b, c)
  local list = { a, b, c }
  for i, x in ipairs(list) do
    list[i] = to_single(x)
    if not list[i] then
      fail(format("%s: a single with a %s; a single goes with singles, halves and numbers", what,
        type_of(x)))
    end
  end
  return op(name .. ".s", 0, 0, unpack(list))
end

local function is_single(a, b, c)
  return kind(a) == "single" or kind(b) == "single" or kind(c) == "single"
end

local function binary(symbol, word_op, float_op)
  local what = "'" .. symbol .. "'"
  return function (a, b)
    local ta, tb = type_of(a), type_of(b)
    if float_op and is_single(a, b) then return single_op(float_op, what, a, b) end
    if word_op and (ta == "word" and tb == "word" or ta == "word" and tb == "number"
        or ta == "number" and tb == "word") then
      if ta == "number" then a = to_word(a, what) end
      if tb == "number" then b = to_word(b, what) end
      return op(word_op, 0, 0, a, b)
    end
    if float_op and (floats[ta] or ta == "number") and (floats[tb] or tb == "number") then
      if ta == "number" then a = to_half(a, what) end
      if tb == "number" then b = to_half(b, what) end
      return fp_op(float_op, what, a, b)
    end
    local needs = word_op and float_op and "two words, two halves or two pairs" or "two words"
    local hint = ""
    if ta == "word" and floats[tb] or tb == "word" and floats[ta] then
      hint = word_op and not float_op and "; use word_of(...)" or "; use as_pair(...) or half(...)"
    end
    if a == nil or b == nil then hint = of_nil(nil) end
    fail(format("%s needs %s, got %s and %s%s", what, needs, describe(a), describe(b), hint))
  end
end

local function refuse(symbol, instead)
  return function ()
    fail(format("'%s' is not for values of a decode function; %s", symbol, instead))
  end
end

local operators = {
  __add = binary("+", "add", "add"),
  __sub = binary("-", "sub", "sub"),
  __mul = binary("*", "mul", "mul"),
  __band = binary("&", "and"),
  __bor = binary("|", "or"),
  __bxor = binary("~", "xor"),
  __shl = binary("<<", "shl"),
  __shr = binary(">>", "shr"),
  __unm = function (a)
    if kind(a) == "word" then return op("sub", 0, 0, 0, a) end
    if kind(a) == "single" then return op("neg.s", 0, 0, a) end
    return fp_op("neg", "'-'", a)
  end,
  __bnot = function (a)
    if kind(a) ~= "word" then fail("'~' needs a word, got " .. describe(a)) end
    return op("not", 0, 0, a)
  end,
  __div = refuse("/", "multiply by the reciprocal, or shift a word with >>"),
  __idiv = refuse("//", "shift with >>"),
  __mod = refuse("%", "mask with &"),
  __pow = refuse("^", "multiply"),
  __concat = refuse("..", "concat(...) joins weights"),
  __call = refuse("()", "it is a value, not a function"),
  __lt = refuse("<", "use lt(a, b), which gives 0 or 1, and select(c, a, b)"),
  __le = refuse("<=", "use lt(a, b), which gives 0 or 1, and select(c, a, b)"),
  __eq = refuse("==", "use eq(a, b), which gives 0 or 1, and select(c, a, b)"),
}
for _, mt in ipairs { word_mt, half_mt, pair_mt, single_mt, vec_mt } do
  for name, f in pairs(operators) do mt[name] = f end
end
for name, mt in pairs { word = word_mt, half = half_mt, pair = pair_mt, single = single_mt } do
  mt.__name = name
  mt.__metatable = false
  mt.__tostring = function () return name end
  mt.__index = function (_, key)
    fail(format("a %s has no elements, got [%s]%s", name, describe(key),
      name == "pair" and "; use lo(p) and hi(p)" or
      name == "word" and "; decode(state, codebook, group) is given the state first" or ""))
  end
  mt.__newindex = function () fail("a " .. name .. " cannot be changed") end
  mt.__len = function () fail("a " .. name .. " has no length") end
end

-- What becomes global.  Each is wrapped in a C function: then 'return f(x)' is no tail call, and a
-- message still finds the line of the spec.
local language = {}

-- ---- Functions of words ----

-- Ops that are functions of words by their own row: eq, lt, popcount, mad, prmt, ...
for _, f in ipairs(host.functions) do
  language[f.form:match("^[%w_]+")] = function (...)
    local args = { ... }
    return op(f.op, 0, 0, words(f.form, unpack(args, 1, f.arity)))
  end
end

function language.parity(x) return op("and", 0, 0, op("popc", 0, 0, (words("parity(x)", x))), 1) end

function language.lop3(a, b, c, truth)
  truth = integer("lop3(a, b, c, truth): truth", truth, 0, 255)
  return op("lop3", truth, 0, words("lop3(a, b, c, truth)", a, b, c))
end

function language.bits(x, lo, n)
  n = integer("bits(x, lo, n): n", n, 1, 32)
  local shifted = op("shr", 0, 0, words("bits(x, lo, n)", x, lo))
  return n == 32 and shifted or op("and", 0, 0, shifted, (1 << n) - 1)
end

function language.byte(x, i)
  i = integer("byte(x, i): i", i, 0, 3)
  return op("and", 0, 0, op("shr", 0, 0, (words("byte(x, i)", x)), 8 * i), 255)
end

function language.bytesum(x, start)
  local what = "bytesum(x, start)"
  return op("dp4a", 0, 0, words(what, x, 0x01010101, start == nil and 0 or start))
end

local function smaller(what, name, lua)
  return function (a, b)
    if type(a) == "number" and type(b) == "number" then return lua(a, b) end
    return op(name, 0, 0, words(what, a, b))
  end
end
language.min = smaller("min(a, b)", "min", lua_min)
language.max = smaller("max(a, b)", "max", lua_max)

-- ---- Functions of halves, pairs and vecs ----

local function check(what, x, ...)
  local t = type_of(x)
  for _, wanted in ipairs { ... } do
    if t == wanted then return t end
  end
  fail(format("%s: should be a %s, got %s%s", what, concat_text({ ... }, " or a "), describe(x),
    of_nil(x)))
end

function language.half(x)
  local t = check("half(x)", x, "word", "half", "single", "number")
  if t == "single" then return op("half.of_single", 0, 0, x) end
  if t == "word" then return op("half.of_uint", 0, 0, x) end
  return t == "half" and x or to_half(x, "half(x)")
end

local function word_value(x, what)
  return type(x) == "number" and constant(to_word(x, what)) or (words(what, x))
end
function language.half_signed(x) return op("half.of_int", 0, 0, word_value(x, "half_signed(x)")) end
function language.single(x)
  if check("single(x)", x, "word", "half", "single", "number") ~= "word" then
    return to_single(x)
  end
  return op("single.of_uint", 0, 0, x)
end
function language.single_signed(x)
  return op("single.of_int", 0, 0, word_value(x, "single_signed(x)"))
end
function language.as_single(x) return op("as_single", 0, 0, word_value(x, "as_single(x)")) end
function language.as_half(x) return op("as_half", 0, 0, word_value(x, "as_half(x)")) end
function language.as_pair(x) return op("as_pair", 0, 0, word_value(x, "as_pair(x)")) end

local function word_bits(x) return op("word_of_" .. kind(x), 0, 0, x) end

-- To the nearest bf16, ties to even: half of a unit in the last place is added, a little less where
-- the place before it is even, and what is behind it is cut off.
function language.round_bf16(x)
  check("round_bf16(x)", x, "half", "single", "number")
  local w = word_bits(to_single(x))
  return language.as_single(w + 0x7fff + (w >> 16 & 1) & 0xffff0000)
end

function language.word_of(x)
  local t = check("word_of(x)", x, "half", "pair", "single", "word")
  return t == "word" and x or word_bits(x)
end

function language.pack(a, b)
  local function as_half(x)
    local t = check("pack(first, second)", x, "half", "single", "number")
    return t == "number" and to_half(x, "pack") or language.half(x)
  end
  return op("pack", 0, 0, as_half(a), as_half(b))
end

function language.lo(p) check("lo(p)", p, "pair") return op("lo", 0, 0, p) end
function language.hi(p) check("hi(p)", p, "pair") return op("hi", 0, 0, p) end
function language.vec(...) return vec_of("vec(...)", ...) end
function language.concat(...) return vec_of("concat(...)", ...) end

function language.fma(a, b, c)
  local args = { a, b, c }
  if is_single(a, b, c) then return single_op("fma", "fma(a, b, c)", a, b, c) end
  for i = 1, 3 do
    if check("fma(a, b, c)", args[i], "half", "pair", "vec", "number") == "number" then
      args[i] = to_half(args[i], "fma(a, b, c)")
    end
  end
  return fp_op("fma", "fma(a, b, c)", args[1], args[2], args[3])
end

function language.abs(x)
  local t = check("abs(x)", x, "half", "pair", "single", "vec", "number")
  if t == "number" then return lua_abs(x) end
  if t == "single" then return op("abs.s", 0, 0, x) end
  return fp_op("abs", "abs(x)", x)
end

-- c word or integer; a and b of one type.
function language.select(c, a, b)
  local what = "select(condition, a, b)"
  c = words(what, c)
  if is_single(a, b) then
    local x, y = to_single(a), to_single(b)
    if x and y then
      return op("as_single", 0, 0, op("select", 0, 0, c, word_bits(x), word_bits(y)))
    end
  end
  local ta, tb = type_of(a), type_of(b)
  if ta == "number" and (tb == "half" or tb == "pair") then a, ta = to_half(a, what), "half" end
  if tb == "number" and (ta == "half" or ta == "pair") then b, tb = to_half(b, what), "half" end
  if ta == "half" and tb == "pair" then a, ta = op("pack", 0, 0, a, a), "pair" end
  if tb == "half" and ta == "pair" then b, tb = op("pack", 0, 0, b, b), "pair" end
  if ta == tb and (ta == "half" or ta == "pair") then
    return op("as_" .. ta, 0, 0, op("select", 0, 0, c, word_bits(a), word_bits(b)))
  end
  if (ta ~= "word" and ta ~= "number") or (tb ~= "word" and tb ~= "number") then
    fail(format("%s: a and b should be two words, two halves or two pairs, got %s and %s", what,
      describe(a), describe(b)))
  end
  return op("select", 0, 0, words(what, c, a, b))
end

local function flip(x, i, bit)
  local mask = op("shl", 0, 0, op("and", 0, 0, bit, 1), i == 1 and 15 or 31)
  return op("as_" .. kind(x), 0, 0, op("xor", 0, 0, word_bits(x), mask))
end

function language.flip_sign(x, i, bit)
  local t = check("flip_sign(x, i, bit)", x, "half", "pair", "vec")
  local count = t == "vec" and x[COUNT] or t == "pair" and 2 or 1
  i = integer("flip_sign(x, i, bit): i", i, 1, count)
  bit = words("flip_sign(x, i, bit)", bit)
  if t ~= "vec" then return flip(x, i, bit) end
  local parts = {}
  for k, item in ipairs(x[PARTS]) do
    parts[k] = k == (i + 1) // 2 and flip(item, 2 - i % 2, bit) or item
  end
  return new_vec(parts, count)
end

-- ---- Codebooks and group fields inside a decode function ----

local function codebook_value(shape, number)
  local mt = { __name = "codebook", __metatable = false }
  function mt.__index(_, i)
    if type(i) == "number" then
      i = integer(format("codebook '%s': index", shape.name), i, 0, shape.entries - 1)
    elseif kind(i) ~= "word" then
      fail(format("codebook '%s': index should be a word, got %s", shape.name, describe(i)))
    end
    local known = host.value(i)
    if known and known >= shape.entries then
      fail(format("codebook '%s': index should be 0 to %d, got %d", shape.name, shape.entries - 1,
        known))
    end
    if shape.dim == 1 then return op("lookup.h", number, 0, i) end
    if shape.dim == 2 then return op("lookup.p", number, 0, i) end
    local parts = {}
    for k = 1, (shape.given + 1) // 2 do parts[k] = op("lookup.p", number, k - 1, i) end
    if shape.given % 2 == 1 then parts[#parts] = op("lo", 0, 0, parts[#parts]) end
    return new_vec(parts, shape.given)
  end
  function mt.__newindex() fail("a codebook cannot be changed in a decode function") end
  function mt.__len() return shape.entries end
  return setmetatable({}, mt)
end

-- The number of a group field's raw bits, exactly: a word, a half or a single.
local function field_value(number, type_name)
  local raw = host.input(number, type_name == "f16")
  local t = { bits = tointeger(type_name:match("^[us](%d)$")) }
  if type_name:find("^u") or type_name == "f16" then return raw end
  if t.bits then
    local half = 1 << t.bits - 1
    return op("half.of_int", 0, 0, (raw ~ half) - half)
  end
  if type_name == "e4m3" then
    return language.as_half((raw & 0x80) << 8 | (raw & 0x7f) << 7) * 256
  end
  if type_name == "e5m2" then return language.as_half(raw << 8) end
  if type_name == "e8m0" then
    return language.as_single(op("select", 0, 0, raw, raw << 23, 0x400000))
  end
  return language.as_single(type_name == "bf16" and raw << 16 or raw)
end

-- A table that refuses names that it does not have.
local function record(what, fields)
  local names = {}
  for name in pairs(fields) do names[#names + 1] = name end
  sort(names)
  return setmetatable({}, {
    __name = what,
    __metatable = false,
    __index = function (_, key)
      local x = fields[key]
      if x == nil then
        fail(format("%s has no '%s'; it has %s", what, tostring(key), concat_text(names, ", ")))
      end
      return x
    end,
    __newindex = function () fail(what .. " cannot be changed in a decode function") end,
  })
end

-- What a decode function gave, as a list of halves or pairs.
local function collect(dim, ...)
  local list = { ... }
  local n = lua_select("#", ...)
  if n == 1 and type(list[1]) == "table" and not is_vec(list[1]) then
    list = list[1]
    n = #list
  end
  local parts, count = {}, 0
  for i = 1, n do
    local x, t = list[i], type_of(list[i])
    if t == "number" then
      x = to_half(x, "result " .. i)
    elseif t == "single" then
      x = op("half.of_single", 0, 0, x)
    elseif not floats[t] then
      fail(format("result %d should be a half, a pair or a vec, got %s%s", i, describe(x),
        t == "word" and "; use half(...), as_half(...) or as_pair(...)" or of_nil(x)))
    end
    count = append(parts, count, x)
  end
  if count == 0 then
    fail(format("it returns nothing; write 'return' before its %d weight%s", dim,
      dim > 1 and "s" or ""))
  end
  if count ~= dim then
    fail(format("it returns %d weights, and dim is %d", count, dim))
  end
  return dim % 2 == 0 and parts or halves_of(new_vec(parts, count))
end

local function trace(decode, shape)
  local state = shape.state and constant(shape.state) or host.input(host.STATE, false)
  local books, by_name, fields = {}, {}, {}
  for i, book in ipairs(shape.codebooks) do
    books[i] = codebook_value(book, i - 1)
    by_name[book.name] = books[i]
  end
  for i, field in ipairs(shape.fields) do
    fields[field.name] = field_value(host.GROUP + i - 1, field.type)
  end
  local codebook = books[1]
  if shape.named == 1 then codebook = record("codebooks", by_name) end
  local group
  if #shape.fields > 0 then group = record("group", fields) end
  local results
  if decode then
    results = collect(shape.dim, decode(state, codebook, group))
  else
    results = collect(shape.dim, codebook[state])
  end
  for _, x in ipairs(results) do host.output(x) end
end

-- ---- Constructors: the user's table, its kind, and the line where it was written ----

local function constructor(name)
  return function (fields, extra)
    if type(fields) ~= "table" or extra ~= nil then
      fail(format("%s should be called with one table: %s { ... }", name, name))
    end
    return { kind = name, line = host.line(), fields = fields }
  end
end

for _, name in ipairs { "trellis", "vector", "scalar", "split", "gaussian_kmeans", "lloyd_max",
    "random_gaussian", "stored" } do
  language[name] = constructor(name)
end

-- Append the numbers of a list to 'out'; a list in it is a row, a multiple of 'dim' long.
local function flatten(out, list, dim, where)
  for i = 1, #list do
    local x = list[i]
    local at = format("%s[%d]", where, i)
    if type(x) == "number" then
      out[#out + 1] = x
    elseif type(x) == "table" and not is_vec(x) and where == "values" then
      if dim > 0 and #x % dim ~= 0 then
        fail(format("%s: a row of %d numbers, which should be a multiple of dim (%d)", at, #x, dim))
      end
      flatten(out, x, dim, at)
    else
      fail(format("%s should be a number%s, got %s", at,
        where == "values" and " or a list of numbers" or "", describe(x)))
    end
  end
end

local new_values = constructor "values"
function language.values(fields, extra)
  local book = new_values(fields, extra)
  local dim = fields.dim == nil and 1 or fields.dim
  book.fields = {}
  for key, x in pairs(fields) do
    if not tointeger(key) then book.fields[key] = x end
  end
  flatten(book.fields, fields, type(dim) == "number" and tointeger(dim) or 0, "values")
  return book
end

for name, f in pairs(language) do _ENV[name] = host.wrap(f) end

-- ---- What conditions and comparisons of a spec call (gen/spec/spec_guard.h) ----

local function is_value(x) return kind(x) ~= nil or is_vec(x) end

local function refuse_decision(text)
  fail(format("'%s' decides when the file is loaded, not for each state; use eq(a, b), lt(a, b) "
    .. "and select(c, a, b)", text))
end

local function check_comparison(a, b, text)
  if a ~= nil and b ~= nil and (is_value(a) or is_value(b)) then refuse_decision(text) end
end

local condition = host.wrap(function (x, text)
  if is_value(x) then refuse_decision(text) end
  return x
end)
local equal = host.wrap(function (a, b, text)
  check_comparison(a, b, text)
  return a == b
end)
local unequal = host.wrap(function (a, b, text)
  check_comparison(a, b, text)
  return a ~= b
end)
local function guards() return condition, equal, unequal end

-- ---- Names that are not there ----

local function sorted_keys(of)
  local names = {}
  for name in pairs(of) do names[#names + 1] = name end
  sort(names)
  return names
end

local instead = {
  random = "a definition is the same each time; random_gaussian { entries, seed } draws numbers",
  require = "a file stands alone: modules, files and processes are out of reach",
  print = "an error(...) with a text shows it",
}
for _, name in ipairs { "io", "os", "load", "loadstring", "dofile", "package", "debug" } do
  instead[name] = instead.require
end
instead.randomseed = instead.random

local of_numbers = {}
for name in pairs(math) do of_numbers[name] = true end

-- Reading a name that a table lacks is an error that says which are near; 'prefix' is "math.".
local function refuse_unknown(of, prefix)
  setmetatable(of, { __metatable = false, __index = function (_, name)
    if type(name) ~= "string" then return nil end
    if name == "_guards" then return guards end
    local names = sorted_keys(of)
    local advice = instead[name]
    local near = not advice and host.suggest(name, names)
    if not advice and prefix == "" and of_numbers[name] then
      advice = format(
        "Lua's own is math.%s, of plain numbers; of the state, look it up in a codebook", name)
    end
    fail(format("there is no '%s%s'%s%s; there are %s", prefix, name,
      near and format("; did you mean '%s%s'?", prefix, near) or "",
      advice and "; " .. advice or "", concat_text(names, ", ")))
  end })
end

local libraries = { string = string, table = table, math = math, utf8 = utf8 }
for name, library in pairs(libraries) do refuse_unknown(library, name .. ".") end
refuse_unknown(_ENV, "")

return { trace = trace }

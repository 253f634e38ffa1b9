-- Trellis codes for pairs whose codebooks were trained on the trellis (qpal train), at decode costs
-- not above the published code's.  lin: a linear hash into 1024 pairs, an instruction less.  wide:
-- a window of 20 bits, which only the encoder feels.  long: one of 24 bits, of whose paths the
-- encoder keeps a part.  mix: bits of the state move each pair's sign and fraction, so that many
-- more points than the table holds are there; for rates that need them.
local palette = {}
local function code(family, half_bits, window, entries, decode, trained_as)
  local name = ("%s-%g"):format(family, half_bits / 2)
  local file = ("trained/%s.txt"):format(trained_as or name)
  palette[#palette + 1] = trellis { name = name, window = window, dim = 2, step = half_bits,
    decode = decode, codebook = stored { file = file, entries = entries, dim = 2 } }
end
local function mixed(pair, bits) return as_pair(word_of(pair) ~ bits) end

for half_bits = 3, 8 do
  code("lin", half_bits, 17, 1024, function (s, c) return c[s * 0x9e37 + 0x3a5c7 >> 7 & 1023] end)
end
for half_bits = 4, 7 do
  code("wide", half_bits, 20, 1024, function (s, c) return c[s * 0x9e37 >> 10 & 1023] end)
end
code("mix", 7, 17, 1024, function (s, c) return mixed(c[s * 0x9e37 >> 7 & 1023], s & 0x8180) end)
code("mix", 8, 16, 1024,
     function (s, c) return mixed(c[s * 0x9e36 + 0x3a5c7 >> 7 & 1023], s & 0x8180) end)
code("mix", 9, 18, 2048, function (s, c) return mixed(c[s * s + s >> 7 & 2047], s & 0x81c0) end)
code("mix", 10, 18, 2048, function (s, c)
  return mixed(c[s * s + s >> 7 & 2047], s * 0x83dcd12d & 0x81c081c0)
end)

-- Codebooks serve any window: most codes that they were trained with differ from these by their
-- windows alone.
for _, of in ipairs { { 4, "long-2" }, { 5, "wide-2.5" }, { 8, "lin-4" } } do
  code("long", of[1], 24, 1024, function (s, c) return c[s * 0x9e3779b1 >> 14 & 1023] end, of[2])
end
-- A dot product of the window's three bytes needs no shift to where a table's addresses begin: an
-- instruction less at 3 bits, and at 3.5 it pays for the bits that are mixed in.  long-3 was
-- trained with a window of 17 bits, moved up to those that count.
code("long", 6, 24, 1024, function (s, c) return c[dp4a(s, 0xfff9c7, 0) >> 7 & 1023] end)
code("long", 7, 24, 1024, function (s, c)
  return mixed(c[dp4a(s, 0xfff9c7, 0) >> 7 & 1023], s & 0x8180)
end)
local function long(half_bits, trained_as, bits)
  code("long", half_bits, 24, 2048, function (s, c)
    return mixed(c[s * 0x9e3779b1 >> 13 & 2047], s & bits)
  end, trained_as)
end
long(9, "mix-4.5", 0x81c0)
long(10, "mix-5", 0xc081c0)

for _, part in ipairs { { "lin", 3, 7 }, { "wide", 4, 6 }, { "mix", 7, 9 }, { "long", 4, 9 } } do
  for half_bits = part[2], part[3] do
    local name = part[1] .. "-%g"
    palette[#palette + 1] = split { name = name:format(half_bits / 2 + 0.25),
      parts = { { name:format(half_bits / 2), 1 / 2 },
                { name:format((half_bits + 1) / 2), 1 / 2 } } }
  end
end
return palette

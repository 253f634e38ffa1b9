-- Columns in the order of their sensitivity with 8, 6, 5, 4, 3 and 2 bits, as EXL2 of ExLlamaV2 has
-- them: integers in groups of 32, whose scales are squares of 4 bits of the row's.

local function integers(bits)
  return scalar {
    name = "exl2-" .. bits, bits = bits,
    group = { size = 32, scale = { "u4", 0, 15 }, d = { "f16", 2^-14, 0.5, scope = "row" } },
    decode = function (code, _, g)
      local root = single(g.scale) + 1
      return single(g.d) * root * root * single_signed(code - 2^(bits - 1))
    end,
  }
end

local list = {}
for i, bits in ipairs { 8, 6, 5, 4, 3, 2 } do list[i] = integers(bits) end
list[7] = split {
  name = "exl2-3.3", rotation = "none", order = "sensitivity",
  parts = { { "exl2-8", 1/64 }, { "exl2-6", 3/64 }, { "exl2-5", 4/64 }, { "exl2-4", 16/64 },
    { "exl2-3", 24/64 }, { "exl2-2", 16/64 } },
}
return list

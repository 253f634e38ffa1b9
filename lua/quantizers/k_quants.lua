-- llama.cpp's k-quants (ggml-quants.c, MIT): superblocks of 256 columns have fp16 scales d (and
-- dmin), smaller groups integers of 4, 6 or 8 bits that multiply them. In fp32 and in the order of
-- its dequantization, so that what it stored decodes to the same bits.

local function d(hi) return { "f16", 2 ^ -14, hi, size = 256 } end

-- scale and least of a group are whole numbers of d and dmin:  y = d scale q - dmin least
local function with_least(name, bits, size, type, most)
  return scalar {
    name = name, bits = bits,
    group = { size = size, d = d(0.5), dmin = d(0.5), scale = { type, 0, most },
      least = { type, 0, most } },
    decode = function (q, _, g)
      return single(g.d) * single(g.scale) * single(q) - single(g.dmin) * single(g.least)
    end,
  }
end

-- the scale of 16 columns is signed and codes have no least:  y = d scale (q - half of them)
local function symmetric(name, bits, scale, signed)
  return scalar {
    name = name, bits = bits,
    group = { size = 16, d = d(0.125), scale = scale },
    decode = function (q, _, g)
      return single(g.d) * signed(g.scale) * single_signed(q - (1 << bits - 1))
    end,
  }
end

return {
  with_least("q2_k", 2, 16, "u4", 15),
  symmetric("q3_k", 3, { "u6", 0, 63 }, function (s) return single_signed(s - 32) end),
  with_least("q4_k", 4, 32, "u6", 63),
  with_least("q5_k", 5, 32, "u6", 63),
  symmetric("q6_k", 6, { "s8", -128, 127 }, single),
}

-- Ternary weights (BitNet b1.58, arXiv 2402.17764). In b bits ceil(2^b v / 3^n) stands for the n
-- digits of v: multiplying by 3 brings out a digit. Five in a byte are 1.6 bits, as llama.cpp's
-- TQ1_0 packs them; there a code is two bytes that take turns, so that one product gives a pair.

local function next_digit(rest, bits)
  local tripled = rest * 3
  return half_signed((tripled >> bits) - 1), tripled & (1 << bits) - 1
end

return {
  vector {
    name = "ternary-1.6", dim = 10, bits = 16,
    decode = function (code)
      local weights, rest = {}, { code & 255, code >> 8 }
      for i = 1, 10 do
        local k = 2 - i % 2
        weights[i], rest[k] = next_digit(rest[k], 8)
      end
      return weights
    end,
  },
  -- TQ1_0's weights with their fp16 scale for 256 columns. Codes lie in a row: eight in 13 bits, as
  -- many bits as there.
  vector {
    name = "tq1_0", dim = 8, bits = 13,
    group = { size = 256, d = { "f16", 2^-14, 16 } },
    decode = function (rest, _, g)
      local weights = {}
      for i = 1, 8 do
        weights[i], rest = next_digit(rest, 13)
        weights[i] = weights[i] * g.d
      end
      return weights
    end,
  },
}

-- Ternary weights, five in a byte: 1.6 bits (BitNet b1.58, arXiv 2402.17764; packing as in
-- llama.cpp's TQ1_0). The byte is ceil(256 v / 243) for v = 81 t1 + 27 t2 + 9 t3 + 3 t4 + t5:
-- multiplying by 3 brings out a digit. A code is two bytes that take turns, so that one product
-- gives a pair of weights.

return vector {
  name = "ternary-1.6",
  dim = 10,
  bits = 16,
  decode = function (code)
    local weights, rest = {}, { code & 255, code >> 8 }
    for i = 1, 10 do
      local tripled = rest[2 - i % 2] * 3
      weights[i] = half_signed((tripled >> 8) - 1)
      rest[2 - i % 2] = tripled & 255
    end
    return weights
  end,
}

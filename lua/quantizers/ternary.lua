-- Ternary weights, five in a byte: 1.6 bits (BitNet b1.58, arXiv 2402.17764; packing as in
-- llama.cpp's TQ1_0). The byte is ceil(256 v / 243) for v = 81 t1 + 27 t2 + 9 t3 + 3 t4 + t5:
-- multiplying by 3 brings out a digit.

return vector {
  name = "ternary-1.6",
  dim = 5,
  bits = 8,
  decode = function (code)
    local weights, rest = {}, code
    for i = 1, 5 do
      weights[i] = half_signed((rest * 3 >> 8) - 1)
      rest = rest * 3 & 255
    end
    return weights
  end,
}

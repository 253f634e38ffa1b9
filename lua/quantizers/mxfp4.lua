-- MXFP4 (OCP Microscaling 1.0): e2m1 numbers, a power of two (e8m0) for each group of 32 columns.
-- fp16 holds 6 times the scales 2^-14 to 2^13; exponents outside are taken as the nearest of these.

return scalar {
  name = "mxfp4",
  bits = 4,
  codebook = values { dim = 1, 0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6 },
  group = { size = 32, exponent = { "u8", 113, 130 } },
  decode = function (code, codebook, group)
    local scale = as_half(min(max(group.exponent, 113), 140) - 112 << 10)
    return codebook[code] * scale
  end,
}

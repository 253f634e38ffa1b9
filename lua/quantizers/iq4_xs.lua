-- llama.cpp's IQ4_XS (ggml-quants.c, MIT): 16 uneven levels; an fp16 scale for 256 columns, 6 bits
-- of it for 32.

return scalar {
  name = "iq4_xs", bits = 4,
  codebook = values { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 },
  group = { size = 32, d = { "f16", 2 ^ -14, 0.0625, size = 256 }, scale = { "u6", 0, 63 } },
  decode = function (code, level, g)
    return single(g.d) * single_signed(g.scale - 32) * level[code]
  end,
}

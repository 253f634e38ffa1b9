-- ITQ3_S (arXiv 2603.27914): blocks of 256 columns, each rotated by itself and coded in 3 bits with
-- a scale and a zero.
return scalar {
  name = "itq3_s", bits = 3, rotation = 256,
  group = { size = 256, scale = { "f16", 2^-12, 4 }, zero = { "f16", 0, 7 } },
  decode = function (code, _, g) return (single(code) - single(g.zero)) * single(g.scale) end,
}

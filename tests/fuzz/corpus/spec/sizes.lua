local function d(hi) return { "f16", 2 ^ -14, hi, size = 256 } end
return scalar {
  name = "k-4", bits = 4,
  group = { size = 32, d = d(0.5), dmin = { "f32", 0, 1, scope = "tensor" },
    scale = { "u6", 0, 63 }, least = { "s8", -8, 7 } },
  decode = function (q, _, g)
    return single(g.d) * single(g.scale) * single(q) - g.dmin * single(g.least)
  end,
}

-- Few enough values that all can be tried: a scale for 32 columns, 3 bits of it for 8.
return {
  scalar {
    name = "two-levels", bits = 2,
    group = { size = 8, d = { "f16", 0.125, 0.5, size = 32 }, scale = { "u3", 1, 7 } },
    decode = function (c, _, g)
      return single(g.d) * single(g.scale) * (single(c) - 1.5)
    end,
  },
  -- Signs of two scales: no scale times the code's own number.
  scalar {
    name = "two-planes", bits = 2,
    group = { size = 8, a = { "f16", 0.5, 2, size = 32 }, b = { "u3", 0, 7 } },
    decode = function (c, _, g)
      local b = half(g.b) * 0.125 * g.a
      return flip_sign(g.a, 1, c & 1) + flip_sign(b, 1, c >> 1)
    end,
  },
  scalar {
    name = "three-extents", bits = 3,
    group = { size = 16, d = { "e4m3", 2 ^ -6, 8 }, low = { "f16", -4, 0, size = 48 },
      all = { "f32", 2 ^ -8, 1, scope = "tensor" }, row = { "bf16", 0.25, 4, scope = "row" } },
    decode = function (c, _, g) return g.all * g.row * (g.d * single(c) + g.low) end,
  },
}

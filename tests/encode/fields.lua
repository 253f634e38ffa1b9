-- SPDX-License-Identifier: MIT
-- Group fields in several ways. Those named affine-* are  a(fields) u(code) + b(fields),  the
-- others are not.
local scale = { "f16", 0.001, 4 }
local function three(name, group, decode)
  group.size = 64
  return scalar { name = name, bits = 3, group = group, decode = decode }
end
local low = values { -2, -1.5, -1, -0.5, 0, 1, 2, 3 }
local high = values { -3, -2, -1, 0, 0.5, 1, 1.5, 2 }

return {
  three("affine-zero", { scale = scale, zero = { "u4", 0, 7 } },
    function (c, _, g) return (half(c) - half(g.zero)) * g.scale end),
  three("affine-words", { scale = scale, zero = { "u4", 0, 7 } },
    function (c, _, g) return half_signed(c - g.zero) * g.scale end),
  three("affine-least", { scale = scale, least = { "f16", -4, 4 } },
    function (c, _, g) return fma(half(c), g.scale, g.least) end),
  three("affine-turned", { scale = { "f16", -4, -0.001 }, least = { "f16", -4, 4 } },
    function (c, _, g) return g.least - (half(c) - 5) * -g.scale end),
  three("affine-two", { d = scale, m = scale, s = { "u4", 1, 15 }, z = { "u4", 0, 15 } },
    function (c, _, g) return half(c) * (g.d * half(g.s)) - g.m * half(g.z) end),
  scalar {
    name = "either", bits = 3, codebooks = { low = low, high = high },
    group = { size = 64, scale = scale, which = { "u4", 0, 1 } },
    decode = function (c, books, g)
      return select(g.which, books.high[c], books.low[c]) * g.scale
    end,
  },
  three("two-units", { scale = scale, other = scale },
    function (c, _, g) return half(c) * g.scale + half(c & 1) * g.other end),
  three("swallowed", { scale = scale, large = { "f16", 2048, 4096 } },
    function (c, _, g) return (half(c) + g.large - g.large) * g.scale end),
  three("squares", { scale = scale },
    function (c, _, g) local v = (half(c) - 3.5) * g.scale return v * abs(v) end),
}

-- Decodes that are sums of fields times what the code chooses, and some that are not.
local f16 = { "f16", 2^-12, 4 }
local function sign(bit) return half_signed(bit * 2 - 1) end

return {
  scalar {
    name = "signs", bits = 3, planes = true, group = { size = 32, a = f16, b = f16, c = f16 },
    decode = function (code, _, g)
      return sign(code & 1) * g.a + sign(code >> 1 & 1) * g.b + sign(code >> 2) * g.c
    end,
  },
  scalar {
    name = "two", bits = 2, group = { size = 32, a = f16, b = f16 },
    decode = function (code, _, g) return sign(code & 1) * g.a + sign(code >> 1) * g.b end,
  },
  -- Sums of their own beside a number that no field sets.
  scalar {
    name = "shifted", bits = 2, group = { size = 32, near = f16, far = { "bf16", 0, 4 } },
    decode = function (code, _, g)
      return single(sign(code & 1)) * select(code >> 1, g.far, single(g.near)) + single(0.125)
    end,
  },
  -- Three of four values of two bits, four weights a code: some codes are the same.
  vector {
    name = "four", dim = 4, bits = 8, group = { size = 32, a = f16, b = f16 },
    decode = function (code, _, g)
      local w = {}
      for i = 1, 4 do
        local at = min(code >> 2 * i - 2 & 3, 2)
        w[i] = half_signed(at - 1) * g.a + half(at) * g.b
      end
      return w
    end,
  },
  -- The second weight of a code has not every sum beside each of the first.
  vector {
    name = "bound", dim = 2, bits = 2, group = { size = 32, a = f16 },
    decode = function (code, _, g)
      return half_signed((code & 1) - 1) * g.a, half_signed((code >> 1 & code) - 1) * g.a
    end,
  },
  -- The same sums, of which the second is rounded at the end alone.
  vector {
    name = "rounded", dim = 2, bits = 4, group = { size = 32, a = f16, b = f16 },
    decode = function (code, _, g)
      local x, y = single(sign(code >> 2 & 1)), single(sign(code >> 3))
      return sign(code & 1) * 0.3 * g.a + sign(code >> 1 & 1) * g.b,
        x * single(half(0.3)) * single(g.a) + y * single(g.b)
    end,
  },
  vector {
    name = "square", dim = 2, bits = 2, group = { size = 32, a = f16 },
    decode = function (code, _, g)
      return sign(code & 1) * g.a * g.a, sign(code >> 1) * g.a * g.a
    end,
  },
  vector {
    name = "few-numbers", dim = 2, bits = 2, group = { size = 32, a = { "u4", 1, 15 } },
    decode = function (code, _, g)
      return sign(code & 1) * half(g.a), sign(code >> 1) * half(g.a)
    end,
  },
}

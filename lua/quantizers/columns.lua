-- What a paper says of the columns of x: scales and an order of their own, stored with the weights.

local function integers(name, bits, side)
  side.name, side.bits, side.rotation = name, bits, "none"
  side.group = { size = 128, scale = { "f16", 2^-12, 4 }, zero = { "u4", 0, 2^bits - 1 } }
  side.decode = function (code, _, g) return (half(code) - half(g.zero)) * g.scale end
  return scalar(side)
end

local function sign(code) return half_signed(code * 2 - 1) end

-- Signs times scales of a group; the salient ones two signs, of which the second is of the rest.
local salient = scalar {
  name = "billm-2", bits = 2, group = { size = 128, a = { "f16", 2^-12, 4 }, b = { "f16", 0, 4 } },
  decode = function (code, _, g) return sign(code & 1) * g.a + sign(code >> 1) * g.b end,
}

-- Signs times one of two scales: weights near 0 and those far from it.
local bell = scalar {
  name = "billm-2b", bits = 2,
  group = { size = 128, near = { "f16", 2^-12, 4 }, far = { "f16", 2^-12, 4 } },
  decode = function (code, _, g) return sign(code & 1) * select(code >> 1, g.far, g.near) end,
}

return {
  -- AWQ (arXiv 2306.00978): columns by what activations they meet.
  integers("awq-4", 4, { scale = "activations" }),
  integers("awq-3", 3, { scale = "activations" }),
  -- GPTQ's act-order (arXiv 2210.17323) with these scales: the most sensitive columns first.
  integers("awq-3-act", 3, { scale = "activations", order = "sensitivity" }),
  -- OneBit (arXiv 2402.11295): signs, a number a row (the row scale) and one a column.
  scalar { name = "onebit-1", bits = 1, rotation = "none", scale = "weights", decode = sign },
  -- BiLLM (arXiv 2402.04291): an eighth of the columns, the salient ones, has two signs a weight.
  salient, bell,
  split {
    name = "billm-2.0", rotation = "none", order = "sensitivity",
    parts = { { "billm-2", 1/8 }, { "billm-2b", 7/8 } },
  },
}

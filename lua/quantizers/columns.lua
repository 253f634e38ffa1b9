-- Scales, and an order, of the columns of x, stored with the weights.

local function integers(name, bits, side)
  side.name, side.bits, side.rotation = name, bits, "none"
  side.group = { size = 128, scale = { "f16", 2^-12, 4 }, zero = { "u4", 0, 2^bits - 1 } }
  side.decode = function (code, _, g) return (half(code) - half(g.zero)) * g.scale end
  return scalar(side)
end

return {
  -- AWQ (arXiv 2306.00978): columns by what activations they meet.
  integers("awq-4", 4, { scale = "activations" }),
  integers("awq-3", 3, { scale = "activations" }),
  -- GPTQ's act-order (arXiv 2210.17323) with these scales: the most sensitive columns first.
  integers("awq-3-act", 3, { scale = "activations", order = "sensitivity" }),
  -- OneBit (arXiv 2402.11295): signs, a number a row (the row scale) and one a column.
  scalar {
    name = "onebit-1", bits = 1, rotation = "none", scale = "weights",
    decode = function (code) return half_signed(code * 2 - 1) end,
  },
}

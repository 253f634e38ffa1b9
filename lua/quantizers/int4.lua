-- 4-bit integers with a scale and a zero for each group of 128 columns (GPTQ arXiv 2210.17323,
-- AWQ 2306.00978).

return scalar {
  name = "int4-g128",
  bits = 4,
  group = { size = 128, scale = { "f16", 0.001, 4 }, zero = { "u4", 0, 15 } },
  decode = function (code, _, group)
    return (half(code) - half(group.zero)) * group.scale
  end,
}

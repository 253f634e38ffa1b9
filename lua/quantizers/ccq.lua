-- CCQ at 2 bits (arXiv 2507.07145, WINT2 of FastDeploy): a byte times a number is 15 bits and more.
-- Four windows of 6 of them that overlap by 3, minus 32, are the weights; times a 4-bit scale of 64
-- columns and one of the row. The number and what is added are one for all rows here.
return vector {
  name = "ccq-2", dim = 4, bits = 8, rotation = "none",
  group = { size = 64, local_scale = { "u4", 1, 15 },
    channel_scale = { "f16", 2^-12, 0.25, scope = "row" } },
  decode = function (code, _, g)
    local bits, scale = (code * 497 >> 1) + 200, half(g.local_scale) * g.channel_scale
    local weights = {}
    for i = 1, 4 do weights[i] = half_signed((bits >> 12 - 3 * i & 63) - 32) * scale end
    return weights
  end,
}

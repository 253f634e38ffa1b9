-- Sums of scaled signs or trits; the scales belong to 128 columns of a row.

-- Binary-coding quantization (LUT-GEMM, arXiv 2206.09557): n signs times n scales, as bit planes.
local function bcq(n)
  local group = { size = 128 }
  for i = 1, n do group["a" .. i] = { "f16", 2^-12, 4 } end
  return scalar {
    name = "bcq-" .. n, bits = n, planes = true, group = group,
    decode = function (code, _, g)
      local sum = half(0)
      for i = 1, n do sum = sum + flip_sign(g["a" .. i], 1, code >> i - 1) end
      return sum
    end,
  }
end

-- PTQTP (arXiv 2509.16989): two trits times two scales. Eight trits, of four weights, take 13 bits,
-- as in tq1_0: 3.25 a weight, for 3.17 that trits alone would take. The scales take 0.25. Ten trits
-- in 16 bits (3.2) would come for 320 columns at a time: rows of 4096 would take 3.25, too.
local ptqtp = vector {
  name = "ptqtp", dim = 4, bits = 13,
  group = { size = 128, a = { "f16", 2^-12, 4 }, b = { "f16", 2^-12, 4 } },
  decode = function (rest, _, g)
    local weights = {}
    local function trit()
      local tripled = rest * 3
      rest = tripled & 0x1fff
      return half_signed((tripled >> 13) - 1)
    end
    for i = 1, 4 do weights[i] = trit() * g.a + trit() * g.b end
    return weights
  end,
}

return { bcq(2), bcq(3), bcq(4), bcq(5), ptqtp }

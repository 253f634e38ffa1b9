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

-- PTQTP (arXiv 2509.16989): two trits times two scales. Two weights have 81 pairs of trits, which
-- take 7 bits: 3.5 a weight, for 3.17 that trits alone would take.
local ptqtp = vector {
  name = "ptqtp", dim = 2, bits = 7,
  group = { size = 128, a = { "f16", 2^-12, 4 }, b = { "f16", 2^-12, 4 } },
  decode = function (code, _, g)
    local rest, trits = min(code, 80), {}
    for i = 1, 4 do
      local third = rest * 171 >> 9                    -- divided by 3
      trits[i], rest = half_signed(rest - third * 3 - 1), third
    end
    return trits[1] * g.a + trits[2] * g.b, trits[3] * g.a + trits[4] * g.b
  end,
}

return { bcq(2), bcq(3), bcq(4), bcq(5), ptqtp }

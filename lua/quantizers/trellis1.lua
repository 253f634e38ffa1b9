-- Computed trellis codes, one weight a state, no table: 1MAD and 3INST (QTIP, arXiv 2406.11235),
-- mcg and mul1 (ExLlamaV3). 1mad and mul1: the sum of four bytes, made N(0,1). 3inst and mcg: the
-- sum of two fp16 numbers of random sign and mantissa; their variance is left to the row scales.

local function byte_sum(h)
  -- 0x6400 + n is the fp16 number 1024 + n; (n - 510) / 147.8 with one rounding, as ExLlamaV3 does.
  return fma(as_half(bytesum(h, 0x6400)), 1 / 147.8, -1534 / 147.8)
end

local function two_numbers(h)
  local pair = as_pair(h & 0x8fff8fff ~ 0x3b603b60)
  return lo(pair) + hi(pair)
end

local codes = {
  { "1mad", function (s) return byte_sum(s * 34038481 + 76625530) end },
  { "3inst", function (s) return two_numbers(s * 89226354 + 64248484) end },
  { "mcg", function (s) return two_numbers(s * 0xcbac1fed) end },
  { "mul1", function (s) return byte_sum(s * 0x83dcd12d) end },
}

local palette = {}
for _, code in ipairs(codes) do
  for rate = 1, 6 do
    palette[#palette + 1] = trellis {
      name = ("%s-%d"):format(code[1], rate),
      window = 16,
      dim = 1,
      step = rate,
      decode = code[2],
    }
  end
end
return palette

-- Trellis-coded quantizers of Q-Palette (arXiv 2509.20214): bitshift trellis, pairs from a k-means
-- codebook, the sign of the first weight from bit 15 of the hash. 2^9 pairs, 2^10 at 4.5 bits, 2^11
-- at 5.

local palette = {}

for half_bits = 3, 10 do
  local rate = half_bits / 2
  local index_bits = rate <= 4 and 9 or half_bits + 1
  palette[#palette + 1] = trellis {
    name = ("tcq-%g"):format(rate),
    window = 16,
    dim = 2,
    step = half_bits,
    codebook = gaussian_kmeans { entries = 1 << index_bits, dim = 2, seed = 1 },
    decode = function (s, codebook)
      local h = s * s + s
      local pair = codebook[h >> (15 - index_bits) & (1 << index_bits) - 1]
      return flip_sign(pair, 1, h >> 15 & 1)
    end,
  }
end

-- Rates between: half of the columns half a bit below, half above, in one launch.
for half_bits = 3, 9 do
  local lower, upper = half_bits / 2, (half_bits + 1) / 2
  palette[#palette + 1] = split {
    name = ("tcq-%g"):format((lower + upper) / 2),
    parts = { { ("tcq-%g"):format(lower), 1 / 2 }, { ("tcq-%g"):format(upper), 1 / 2 } },
  }
end

return palette

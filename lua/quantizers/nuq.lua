-- Non-uniform scalar quantizers of Q-Palette (arXiv 2509.20214): a Lloyd-Max codebook of
-- 2^R values.

local palette = {}
for bits = 2, 8 do
  palette[#palette + 1] = scalar {
    name = "nuq-" .. bits,
    bits = bits,
    codebook = lloyd_max { entries = 1 << bits },
  }
end
return palette

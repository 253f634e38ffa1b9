-- Vector quantizers of Q-Palette (arXiv 2509.20214): pairs of weights, a k-means codebook of
-- 2^(2R) pairs.

local palette = {}
for bits = 3, 12 do
  palette[#palette + 1] = vector {
    name = ("vq2-%g"):format(bits / 2),
    dim = 2,
    bits = bits,
    codebook = gaussian_kmeans { entries = 1 << bits, dim = 2, seed = 1 },
  }
end
return palette

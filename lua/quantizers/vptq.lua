-- VPTQ (arXiv 2409.17066): vectors of v weights are the sum of one of 65536 and one of 256 for the
-- residual; both codebooks belong to the linear. The 65536 vectors stay in global memory; to learn
-- them takes millions of vectors, so that qpal quantize leaves them as they are drawn here and fits
-- the 256.

local function vptq(name, v, rest)
  return vector {
    name = name, dim = v, bits = 24,
    codebooks = {
      main = random_gaussian { entries = 65536, dim = v, seed = 1, scope = "tensor" },
      residual = random_gaussian { entries = 256, dim = v, seed = 2, scope = "tensor" },
    },
    decode = function (code, books)
      return books.main[code & 0xffff] + books.residual[code >> 16] * rest
    end,
  }
end

return { vptq("vptq-3", 8, 0.375), vptq("vptq-4", 6, 0.25) }

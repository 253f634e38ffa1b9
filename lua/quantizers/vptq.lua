-- VPTQ (arXiv 2409.17066): vectors of v weights are the sum of one of 65536 and one of 256 for the
-- residual; both codebooks belong to the linear, and are fitted to it by qpal quantize. The 65536
-- vectors stay in global memory. They take 65536 v 16 bits: half a bit a weight of a linear of
-- 4096 x 4096, and of one below 2.8 million weights more than the codes of vptq-3 do.

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

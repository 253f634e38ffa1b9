-- E8P with what is left of the error in a second stage (QuIP#, arXiv 2402.04396): 3 bits with 256
-- points of the E8 lattice (0, its 240 roots, 15 of the next), 4 bits with E8P again. E8P's
-- magnitudes are those of e8p.lua.

local function e8p(code, magnitudes)
  local v = magnitudes[code >> 8]
  for i = 1, 7 do v = flip_sign(v, i, code >> i & 1) end
  v = flip_sign(v, 8, parity(code & 0xfe))
  return v + select(code & 1, half(0.25), half(-0.25))
end

local magnitudes = stored { file = "grids/e8p.txt", entries = 256, dim = 8 }

return {
  vector {
    name = "e8p-3", dim = 8, bits = 24,
    codebooks = {
      first = magnitudes, second = stored { file = "grids/e8.txt", entries = 256, dim = 8 },
    },
    decode = function (code, books)
      return e8p(code & 0xffff, books.first) + books.second[code >> 16] * (1 / 2.04)
    end,
  },
  vector {
    name = "e8p-4", dim = 8, bits = 32, codebook = magnitudes,
    decode = function (code, book)
      return e8p(code & 0xffff, book) + e8p(code >> 16, book) * (1 / 3.45)
    end,
  },
}

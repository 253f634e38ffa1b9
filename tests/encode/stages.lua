-- Codes whose runs of bits add up, and one whose do not.
local function book(seed) return random_gaussian { entries = 64, dim = 4, seed = seed } end
return {
  vector {
    name = "two", dim = 4, bits = 12, codebooks = { a = book(1), b = book(2) },
    decode = function (c, books) return books.a[c >> 6] * 0.25 + books.b[c & 63] end,
  },
  vector {
    name = "long", dim = 8, bits = 28,
    codebooks = { a = random_gaussian { entries = 4096, dim = 8 },
                  b = random_gaussian { entries = 256, dim = 8, seed = 2 } },
    decode = function (c, books)
      return books.a[c & 4095] + (books.b[c >> 12 & 255] + books.b[c >> 20] * 0.5) * 0.5
    end,
  },
  vector {
    name = "many", dim = 8, bits = 18,
    codebooks = { a = random_gaussian { entries = 4096, dim = 8 },
                  b = random_gaussian { entries = 64, dim = 8, seed = 2 } },
    decode = function (c, books) return books.a[c & 4095] + books.b[c >> 12] * 0.5 end,
  },
  vector {
    name = "long-product", dim = 4, bits = 24,
    codebooks = { a = random_gaussian { entries = 4096, dim = 4 },
                  b = random_gaussian { entries = 4096, dim = 4, seed = 2 } },
    decode = function (c, books) return books.a[c >> 12] * books.b[c & 4095] end,
  },
  vector {
    name = "product", dim = 4, bits = 12, codebooks = { a = book(1), b = book(2) },
    decode = function (c, books) return books.a[c >> 6] * books.b[c & 63] end,
  },
}

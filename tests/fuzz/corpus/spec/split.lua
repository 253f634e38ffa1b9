local list = {}
for bits = 1, 2 do
  list[bits] = vector { name = "v-" .. bits, dim = 1, bits = bits,
    codebooks = { a = values { 1, 2, 3, 4 }, b = values { 1, 2, scope = "tensor" } },
    decode = function (c, books) return books.a[c] + books.b[parity(c)] end }
end
list[3] = split { name = "s-1.5", parts = { { "v-1", 1 / 2 }, { "v-2", 1 / 2 } } }
return list

-- Mistral: sizes of each config.json.

return {
  { name = "mistral-7b-v0.1", type = "mistral", layers = 32, hidden = 4096, intermediate = 14336,
    heads = 32, kv_heads = 8, head_dim = 128, vocab = 32000 },
  { name = "mistral-7b-v0.3", type = "mistral", layers = 32, hidden = 4096, intermediate = 14336,
    heads = 32, kv_heads = 8, head_dim = 128, vocab = 32768 },
  { name = "mistral-nemo-12b", type = "mistral", layers = 40, hidden = 5120, intermediate = 14336,
    heads = 32, kv_heads = 8, head_dim = 128, vocab = 131072 },
  { name = "mistral-small-24b", type = "mistral", layers = 40, hidden = 5120, intermediate = 32768,
    heads = 32, kv_heads = 8, head_dim = 128, vocab = 131072 },
}

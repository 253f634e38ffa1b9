-- SmolLM2: sizes of each config.json.

return {
  { name = "smollm2-135m", type = "llama", layers = 30, hidden = 576, intermediate = 1536,
    heads = 9, kv_heads = 3, head_dim = 64, vocab = 49152, tied = true },
  { name = "smollm2-360m", type = "llama", layers = 32, hidden = 960, intermediate = 2560,
    heads = 15, kv_heads = 5, head_dim = 64, vocab = 49152, tied = true },
  { name = "smollm2-1.7b", type = "llama", layers = 24, hidden = 2048, intermediate = 8192,
    heads = 32, kv_heads = 32, head_dim = 64, vocab = 49152, tied = true },
}

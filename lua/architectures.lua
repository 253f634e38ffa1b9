-- How the blocks of a decoder look, by the model_type of its config.json.
--
--   types         the model_types
--   defaults      sizes that a config.json may leave out (heads, kv_heads, head_dim, vocab, tied, ...)
--   prefix        what the names of tensors begin with: prefix .. "layers.7." .. tensor .. ".weight"
--   blocks        what stands there for "layers"
--   embedding     tensor of the embedding where it is not prefix .. "embed_tokens"
--   head          tensor of the lm_head where it is not tied to the embedding
--   block(m)      linears of one block, in the order in which they are fused: role, tensor, rows
--                 (out_features), columns (in_features), bias; linears of one 'group' read the same
--                 input
--   extra(m)      weights of one block that are in no linear: norms
--   gguf          how GGUF files have such a model, if llama.cpp converts it:
--                   architecture  general.architecture; the model_type is the first of 'types'
--                   model, block  names of tensors outside and inside the blocks, there = here
--                   reorders      tensors whose rows are reordered within each head, for RoPE on
--                                 neighbouring pairs: tensor = "heads" or "kv_heads"
--                   adds_one      1 is added to the weights of norms
--
-- m holds hidden, intermediate, heads, kv_heads, head_dim, layers, vocab, and 0 or 1: tied,
-- attention_bias, mlp_bias.

local function attention(m, bias, out_bias)
  local q, kv = m.heads * m.head_dim, m.kv_heads * m.head_dim
  return {
    { role = "q", group = "qkv", tensor = "self_attn.q_proj", rows = q, columns = m.hidden, bias = bias },
    { role = "k", group = "qkv", tensor = "self_attn.k_proj", rows = kv, columns = m.hidden, bias = bias },
    { role = "v", group = "qkv", tensor = "self_attn.v_proj", rows = kv, columns = m.hidden, bias = bias },
    { role = "o", group = "o", tensor = "self_attn.o_proj", rows = m.hidden, columns = q, bias = out_bias },
  }
end

local function with_mlp(m, linears, bias)
  local f, h = m.intermediate, m.hidden
  table.insert(linears, { role = "up", group = "up-gate", tensor = "mlp.up_proj", rows = f, columns = h, bias = bias })
  table.insert(linears, { role = "gate", group = "up-gate", tensor = "mlp.gate_proj", rows = f, columns = h, bias = bias })
  table.insert(linears, { role = "down", group = "down", tensor = "mlp.down_proj", rows = h, columns = f, bias = bias })
  return linears
end

local function llama(m)
  local bias = m.attention_bias == 1
  return with_mlp(m, attention(m, bias, bias), m.mlp_bias == 1)
end

local function gemma(m)
  local bias = m.attention_bias == 1
  return with_mlp(m, attention(m, bias, bias), false)
end

-- Names of gguf-py (tensor_mapping.py), with more of them or others in their place.
local gguf_model = { token_embd = "model.embed_tokens", output_norm = "model.norm", output = "lm_head" }
local function gguf_block(more)
  local names = {
    attn_norm = "input_layernorm", ffn_norm = "post_attention_layernorm",
    attn_q = "self_attn.q_proj", attn_k = "self_attn.k_proj", attn_v = "self_attn.v_proj",
    attn_output = "self_attn.o_proj", attn_q_norm = "self_attn.q_norm", attn_k_norm = "self_attn.k_norm",
    ffn_gate = "mlp.gate_proj", ffn_up = "mlp.up_proj", ffn_down = "mlp.down_proj",
  }
  for there, here in pairs(more or {}) do names[there] = here end
  return names
end
local reordered = { attn_q = "heads", attn_k = "kv_heads" }
local gguf_gemma = gguf_block {
  post_attention_norm = "post_attention_layernorm",
  ffn_norm = "pre_feedforward_layernorm", post_ffw_norm = "post_feedforward_layernorm",
}

local function two_norms(m) return 2 * m.hidden end
local function two_norms_and_qk(m) return 2 * m.hidden + 2 * m.head_dim end
local function four_norms(m) return 4 * m.hidden end
local function four_norms_and_qk(m) return 4 * m.hidden + 2 * m.head_dim end

local gemma3 = { heads = 8, kv_heads = 4, head_dim = 256, vocab = 262208, tied = 1 }

return {
  {
    types = { "llama", "mistral" },
    prefix = "model.", head = "lm_head",
    block = llama,
    extra = two_norms,
    gguf = { architecture = "llama", model = gguf_model, block = gguf_block(), reorders = reordered },
  },
  {
    types = { "smollm3" },
    defaults = { tied = 1 },
    prefix = "model.", head = "lm_head",
    block = llama,
    extra = two_norms,
    gguf = { architecture = "smollm3", model = gguf_model, block = gguf_block(), reorders = reordered },
  },
  {
    types = { "qwen2" },
    prefix = "model.", head = "lm_head",
    block = function(m) return with_mlp(m, attention(m, true, false), false) end,
    extra = two_norms,
    gguf = { architecture = "qwen2", model = gguf_model, block = gguf_block() },
  },
  {
    types = { "qwen3" },
    defaults = { head_dim = 128 },
    prefix = "model.", head = "lm_head",
    block = function(m)
      local bias = m.attention_bias == 1
      return with_mlp(m, attention(m, bias, bias), false)
    end,
    extra = two_norms_and_qk,
    gguf = { architecture = "qwen3", model = gguf_model, block = gguf_block() },
  },
  {
    types = { "gemma" },
    defaults = { head_dim = 256, tied = 1 },
    prefix = "model.", head = "lm_head",
    block = gemma,
    extra = two_norms,
    gguf = { architecture = "gemma", model = gguf_model, block = gguf_block(), adds_one = true },
  },
  {
    types = { "gemma2" },
    defaults = { head_dim = 256, tied = 1 },
    prefix = "model.", head = "lm_head",
    block = gemma,
    extra = four_norms,
    gguf = { architecture = "gemma2", model = gguf_model, block = gguf_gemma, adds_one = true },
  },
  {
    types = { "gemma3_text" },
    defaults = gemma3,
    prefix = "model.", head = "lm_head",
    block = gemma,
    extra = four_norms_and_qk,
    gguf = { architecture = "gemma3", model = gguf_model, block = gguf_gemma, adds_one = true },
  },
  { -- with a vision tower, which is left alone
    types = { "gemma3" },
    defaults = gemma3,
    prefix = "language_model.model.", head = "language_model.lm_head",
    block = gemma,
    extra = four_norms_and_qk,
  },
  { -- q|k|v and gate|up are one matrix each in the checkpoint
    types = { "phi3" },
    prefix = "model.", head = "lm_head",
    block = function(m)
      local q, kv = m.heads * m.head_dim, m.kv_heads * m.head_dim
      local f, h = m.intermediate, m.hidden
      return {
        { role = "qkv", group = "qkv", tensor = "self_attn.qkv_proj", rows = q + 2 * kv, columns = h },
        { role = "o", group = "o", tensor = "self_attn.o_proj", rows = h, columns = q },
        { role = "gate_up", group = "up-gate", tensor = "mlp.gate_up_proj", rows = 2 * f, columns = h },
        { role = "down", group = "down", tensor = "mlp.down_proj", rows = h, columns = f },
      }
    end,
    extra = two_norms,
    gguf = {
      architecture = "phi3", model = gguf_model,
      block = gguf_block { attn_qkv = "self_attn.qkv_proj", ffn_up = "mlp.gate_up_proj" },
    },
  },
  { -- an encoder; its matrices have biases, its norms too
    types = { "bert" },
    defaults = { heads = 12, vocab = 30522, tied = 1 },
    prefix = "encoder.", blocks = "layer", embedding = "embeddings.word_embeddings", head = "cls.predictions.decoder",
    block = function(m)
      local h, f = m.hidden, m.intermediate
      return {
        { role = "q", group = "qkv", tensor = "attention.self.query", rows = h, columns = h, bias = true },
        { role = "k", group = "qkv", tensor = "attention.self.key", rows = h, columns = h, bias = true },
        { role = "v", group = "qkv", tensor = "attention.self.value", rows = h, columns = h, bias = true },
        { role = "o", group = "o", tensor = "attention.output.dense", rows = h, columns = h, bias = true },
        { role = "up", group = "up", tensor = "intermediate.dense", rows = f, columns = h, bias = true },
        { role = "down", group = "down", tensor = "output.dense", rows = h, columns = f, bias = true },
      }
    end,
    extra = function(m) return 4 * m.hidden end,
    gguf = {
      architecture = "bert",
      model = {
        token_embd = "embeddings.word_embeddings", position_embd = "embeddings.position_embeddings",
        token_types = "embeddings.token_type_embeddings", token_embd_norm = "embeddings.LayerNorm",
      },
      block = {
        attn_q = "attention.self.query", attn_k = "attention.self.key", attn_v = "attention.self.value",
        attn_output = "attention.output.dense", attn_output_norm = "attention.output.LayerNorm",
        ffn_up = "intermediate.dense", ffn_down = "output.dense", layer_output_norm = "output.LayerNorm",
      },
    },
  },
}

-- How the blocks of a decoder look, by the model_type of its config.json.
--
--   types         the model_types
--   defaults      sizes that a config.json may leave out (heads, kv_heads, head_dim, vocab, tied,
--                 ...)
--   prefix        what the names of tensors begin with:
--                 prefix .. "layers.7." .. tensor .. ".weight"
--   blocks        what stands there for "layers"
--   embedding     tensor of the embedding where it is not prefix .. "embed_tokens"
--   head          tensor of the lm_head where it is not tied to the embedding
--   block(m)      linears of one block, in the order in which they are fused: role, tensor, rows
--                 (out_features), columns (in_features), bias; linears of one 'group' read the same
--                 input; of blocks of several kinds { layers = { name of each layer's kind },
--                 kind = { name = linears } }.  A linear with 'experts' is a stack of so many, of
--                 which a token uses 'active'; its tensor has a '*' for an expert's number, and
--                 'stack' says how checkpoints hold all in one: { tensor, part, parts, interleaved,
--                 transposed }, as qp_model_stack in gen/model/model.h.  One that holds the rows of
--                 several linears has 'parts' (joined in lua/blocks.lua): ranks share each of them
--   extra(m)      weights of one block that are in no linear: norms, routers; of several kinds
--                 { name = number }
--   beside        names of what is in no linear and no block does without (norms, routers), less
--                 ".weight": a list, or a function of m that gives it.  { of = role, name, ... } in
--                 it are those of blocks with a linear of this role ("later": of all but the first
--                 block).  What a config may switch off is left out: of norms that are not listed
--                 blocks of a kind are compared with each other
--   last          the norm behind the blocks, behind prefix ("norm"); false: there is none; or a
--                 function of m that gives either
--   gguf          how GGUF files have such a model, if llama.cpp converts it:
--                   architecture  general.architecture; the model_type is the first of 'types'
--                   class         of transformers, for the config.json that is made
--                   model, block  names of tensors outside and inside the blocks, there = here
--                   reorders      tensors whose rows are reordered within each head, for RoPE on
--                                 neighbouring pairs: tensor = "heads" or "kv_heads"
--                   adds_one      1 is added to the weights of norms
--                   experts       it is the entry of files that have some
--   names         what a config.json calls sizes where it is not Hugging Face's usual name:
--                 layers = "n_layers", or a path: kv_heads = "attn_config.kv_n_heads"
--   once(m)       weights outside the blocks that are in no linear and no embedding (the last norm)
--   passed(m)     of what is no part of the decoder: { weights = number, what = "vision tower" }
--   text, of      of a decoder inside something larger, an entry without 'block': where the config
--                 keeps its part ("text_config"), and the model_type that it is taken for where
--                 that part does not say
--   headed        a class named ...Model has an lm_head all the same
--   refused       why models of these types are not planned, in place of all others
--   forward(m)    what the model computes (below); without it the forward pass refuses the
--                 architecture
--
-- m holds hidden, intermediate, heads, kv_heads, head_dim, layers, vocab, and 0 or 1: tied,
-- attention_bias, mlp_bias.  m.config is the config.json as a table (of a model with a vision tower
-- its text_config), m.root the whole of it.
--
-- More entries are in lua/architectures, with what lua/blocks.lua builds.
--
-- What forward gives:
--
--   x = embedding[token] * embedding_scale
--   in each block:  x = x + post_attention(o(attention(before_attention(x))))
--                   x = x + post_mlp(down(activation(gate(h)) * up(h))),  h = before_mlp(x)
--   logits = cap(head(final(x))),  cap(l) = softcap * tanh(l / softcap)
--
--   embedding_scale                factor of the embedding (1)
--   norm          kind "rms" or "layer", eps, offset: a norm multiplies by offset + weight (0)
--   norms         tensors of the block's norms: before_attention, post_attention, before_mlp,
--                 post_mlp, q, k (over each head where they are as long as one); those not
--                 named are left out
--   final         tensor of the last norm
--   activation    "silu", "gelu", "gelu_tanh" or "relu"; without a gate, of up(h) itself
--   scale         of q k^T (head_dim ^ -0.5)
--   attention_softcap, softcap     of the scores, of the logits; 0 or nil: none
--   layers        for each layer { window =, rotary = }: a query sees itself and the window - 1
--                 tokens before it (0: all before it); rotary numbers what turns() gives (0:
--                 positions are not told)
--   turns(at)     a list of what lua/rotary.lua's turns gives, for sequences of at.length tokens
--
-- Linears are found by their roles; "qkv" is q, k and v and "gate_up" is gate and up, one
-- below another.

-- Activations by their names in config.json.
local activations = {
  silu = "silu", swish = "silu", gelu = "gelu", relu = "relu",
  gelu_pytorch_tanh = "gelu_tanh", gelu_new = "gelu_tanh", gelu_fast = "gelu_tanh",
}

local function activation(name)
  return activations[name] or error(("hidden_act: '%s' is not known"):format(tostring(name)))
end

-- null in a config.json is false here.
local function given(value, default)
  if value == nil then return default end
  return value
end

-- m.layers entries: with 'window' where windowed(i) (nil: everywhere), rotary 1.
local function layers(m, window, windowed)
  local list, types = {}, m.config.layer_types
  for i = 1, m.layers do
    local sliding = window and true or false
    if types then
      sliding = sliding and types[i] == "sliding_attention"
    elseif windowed then
      sliding = sliding and windowed(i)
    end
    list[i] = { window = sliding and window or 0, rotary = 1 }
  end
  return list
end

-- RMSNorm before attention and MLP, rotary embedding, SiLU: Llama, and what others vary.
local function llama_forward(m, theta)
  local c = m.config
  local parameters = rotary.parameters(c, theta or 10000)
  return {
    norm = { kind = "rms", eps = c.rms_norm_eps or 1e-6 },
    norms = { before_attention = "input_layernorm", before_mlp = "post_attention_layernorm" },
    final = "norm",
    activation = activation(c.hidden_act or "silu"),
    layers = layers(m),
    turns = function(at) return { rotary.turns(parameters, m.head_dim, at.length) } end,
  }
end

local function mistral_forward(m)
  local f = llama_forward(m)
  m.config.layer_types = nil -- Mistral's window is every layer's
  f.layers = layers(m, m.config.sliding_window)
  return f
end

local function smollm3_forward(m)
  local c = m.config
  local f = llama_forward(m, 2000000)
  local function turned(i)
    if c.no_rope_layers then return c.no_rope_layers[i] ~= 0 end -- named after its zeros
    return i % (c.no_rope_layer_interval or 4) ~= 0
  end
  f.layers = layers(m, c.use_sliding_window and c.sliding_window or nil,
                    function(i) return not turned(i) end)
  for i = 1, m.layers do f.layers[i].rotary = turned(i) and 1 or 0 end
  return f
end

local function qwen_forward(m)
  local c = m.config
  local f = llama_forward(m)
  f.layers = layers(m, c.use_sliding_window and (c.sliding_window or 4096) or nil,
    function(i) return i > (c.max_window_layers or 28) end)
  return f
end

local function qwen3_forward(m)
  local f = qwen_forward(m)
  f.norms.q, f.norms.k = "self_attn.q_norm", "self_attn.k_norm"
  return f
end

local function phi3_forward(m)
  local c = m.config
  local f = llama_forward(m)
  local parameters = rotary.parameters(c, 10000)
  if parameters.type == "su" or parameters.type == "yarn" then parameters.type = "longrope" end
  f.norm.eps = c.rms_norm_eps or 1e-5
  f.layers = layers(m, c.sliding_window)
  f.turns = function(at) return { rotary.turns(parameters, m.head_dim, at.length) } end
  return f
end

-- Norms multiply by 1 + weight; the embedding is scaled; GELU.
local function gemma_forward(m)
  local c = m.config
  local f = llama_forward(m)
  f.norm.offset = 1
  f.embedding_scale = math.sqrt(m.hidden)
  f.activation = "gelu_tanh" -- also where the config says "gelu", which was never meant
  return f
end

-- Norms behind attention and MLP too, soft caps, a window in every second layer.
--   large   layers of the 27B model, whose query_pre_attn_scalar GGUF files do not hold
local function gemma2_forward(m, large)
  local c = m.config
  local f = gemma_forward(m)
  f.norms = {
    before_attention = "input_layernorm", post_attention = "post_attention_layernorm",
    before_mlp = "pre_feedforward_layernorm", post_mlp = "post_feedforward_layernorm",
  }
  f.activation = activation(c.hidden_activation or "gelu_pytorch_tanh")
  f.scale = (c.query_pre_attn_scalar or m.layers == large and m.hidden / m.heads or 256) ^ -0.5
  f.attention_softcap = given(c.attn_logit_softcapping, 50)
  f.softcap = given(c.final_logit_softcapping, 30)
  f.layers = layers(m, c.sliding_window or 4096, function(i) return i % 2 == 1 end)
  return f
end

-- Norms of q and k in place of soft caps; windows in five layers of six, with a rotary base of
-- their own.
local function gemma3_forward(m)
  local c = m.config
  local f = gemma2_forward(m, 62)
  local all = rotary.parameters(c, 1000000, "full_attention")
  local near = rotary.parameters(c, 10000, "sliding_attention")
  if not (c.rope_parameters or {}).sliding_attention then
    near = { type = "default", rope_theta = c.rope_local_base_freq or 10000,
             partial_rotary_factor = 1 }
  end
  if c.use_bidirectional_attention then
    error("use_bidirectional_attention: only causal models are run")
  end
  f.norms.q, f.norms.k = "self_attn.q_norm", "self_attn.k_norm"
  f.attention_softcap, f.softcap = c.attn_logit_softcapping, c.final_logit_softcapping
  local pattern = c.sliding_window_pattern or 6
  f.layers = layers(m, c.sliding_window or 4096, function(i) return i % pattern ~= 0 end)
  for i = 1, m.layers do f.layers[i].rotary = f.layers[i].window > 0 and 2 or 1 end
  f.turns = function(at)
    return { rotary.turns(all, m.head_dim, at.length), rotary.turns(near, m.head_dim, at.length) }
  end
  return f
end

local function linear(role, group, tensor, rows, columns, bias)
  return { role = role, group = group, tensor = tensor, rows = rows, columns = columns,
           bias = bias }
end

local function attention(m, bias, out_bias)
  local q, kv = m.heads * m.head_dim, m.kv_heads * m.head_dim
  return {
    linear("q", "qkv", "self_attn.q_proj", q, m.hidden, bias),
    linear("k", "qkv", "self_attn.k_proj", kv, m.hidden, bias),
    linear("v", "qkv", "self_attn.v_proj", kv, m.hidden, bias),
    linear("o", "o", "self_attn.o_proj", m.hidden, q, out_bias),
  }
end

local function with_mlp(m, linears, bias)
  local f, h = m.intermediate, m.hidden
  table.insert(linears, linear("up", "up-gate", "mlp.up_proj", f, h, bias))
  table.insert(linears, linear("gate", "up-gate", "mlp.gate_proj", f, h, bias))
  table.insert(linears, linear("down", "down", "mlp.down_proj", h, f, bias))
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
local gguf_model = { token_embd = "model.embed_tokens", output_norm = "model.norm",
                     output = "lm_head" }
local function gguf_block(more)
  local names = {
    attn_norm = "input_layernorm", ffn_norm = "post_attention_layernorm",
    attn_q = "self_attn.q_proj", attn_k = "self_attn.k_proj", attn_v = "self_attn.v_proj",
    attn_output = "self_attn.o_proj", attn_q_norm = "self_attn.q_norm",
    attn_k_norm = "self_attn.k_norm",
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

-- For an entry's beside: norms before attention and MLP, and more.
local function beside(...) return { "input_layernorm", "post_attention_layernorm", ... } end
local function beside_qk(...) return beside("self_attn.q_norm", "self_attn.k_norm", ...) end
local function beside_four(...)
  return beside("pre_feedforward_layernorm", "post_feedforward_layernorm", ...)
end

local function two_norms(m) return 2 * m.hidden end
local function two_norms_and_qk(m) return 2 * m.hidden + 2 * m.head_dim end
local function four_norms(m) return 4 * m.hidden end
local function four_norms_and_qk(m) return 4 * m.hidden + 2 * m.head_dim end

local gemma3 = { heads = 8, kv_heads = 4, head_dim = 256, vocab = 262208, tied = 1 }

local list = {
  {
    types = { "llama" },
    prefix = "model.", head = "lm_head",
    block = llama,
    extra = two_norms,
    beside = beside(),
    gguf = {
      architecture = "llama", class = "LlamaForCausalLM",
      model = gguf_model, block = gguf_block(), reorders = reordered,
    },
    forward = llama_forward,
  },
  {
    types = { "mistral" },
    prefix = "model.", head = "lm_head",
    block = llama,
    extra = two_norms,
    beside = beside(),
    forward = mistral_forward,
  },
  {
    types = { "smollm3" },
    defaults = { tied = 1 },
    prefix = "model.", head = "lm_head",
    block = llama,
    extra = two_norms,
    beside = beside(),
    gguf = {
      architecture = "smollm3", class = "SmolLM3ForCausalLM",
      model = gguf_model, block = gguf_block(), reorders = reordered,
    },
    forward = smollm3_forward,
  },
  {
    types = { "qwen2" },
    prefix = "model.", head = "lm_head",
    block = function(m) return with_mlp(m, attention(m, true, false), false) end,
    extra = two_norms,
    beside = beside(),
    gguf = {
      architecture = "qwen2", class = "Qwen2ForCausalLM",
      model = gguf_model, block = gguf_block(),
    },
    forward = qwen_forward,
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
    beside = beside_qk(),
    gguf = {
      architecture = "qwen3", class = "Qwen3ForCausalLM",
      model = gguf_model, block = gguf_block(),
    },
    forward = qwen3_forward,
  },
  {
    types = { "gemma" },
    defaults = { head_dim = 256, tied = 1 },
    prefix = "model.", head = "lm_head",
    block = gemma,
    extra = two_norms,
    beside = beside(),
    gguf = {
      architecture = "gemma", class = "GemmaForCausalLM",
      model = gguf_model, block = gguf_block(), adds_one = true,
    },
    forward = gemma_forward,
  },
  {
    types = { "gemma2" },
    defaults = { head_dim = 256, tied = 1 },
    prefix = "model.", head = "lm_head",
    block = gemma,
    extra = four_norms,
    beside = beside_four(),
    gguf = {
      architecture = "gemma2", class = "Gemma2ForCausalLM",
      model = gguf_model, block = gguf_gemma, adds_one = true,
    },
    forward = function(m) return gemma2_forward(m, 46) end,
  },
  {
    types = { "gemma3_text" },
    defaults = gemma3,
    prefix = "model.", head = "lm_head",
    block = gemma,
    extra = four_norms_and_qk,
    beside = beside_four("self_attn.q_norm", "self_attn.k_norm"),
    gguf = {
      architecture = "gemma3", class = "Gemma3ForCausalLM",
      model = gguf_model, block = gguf_gemma, adds_one = true,
    },
    forward = gemma3_forward,
  },
  { -- with a vision tower, which is left alone
    types = { "gemma3" },
    defaults = gemma3,
    prefix = "language_model.model.", head = "language_model.lm_head",
    block = gemma,
    extra = four_norms_and_qk,
    beside = beside_four("self_attn.q_norm", "self_attn.k_norm"),
    passed = function(m) return blocks.passed_vision { projector = "linear" } (m) end,
    forward = gemma3_forward,
  },
  { -- q|k|v and gate|up are one matrix each in the checkpoint
    types = { "phi3" },
    prefix = "model.", head = "lm_head",
    block = function(m)
      local q, kv = m.heads * m.head_dim, m.kv_heads * m.head_dim
      local f, h = m.intermediate, m.hidden
      return {
        blocks.qkv(linear("qkv", "qkv", "self_attn.qkv_proj", q + 2 * kv, h), m),
        linear("o", "o", "self_attn.o_proj", h, q),
        blocks.gate_up(linear("gate_up", "up-gate", "mlp.gate_up_proj", 2 * f, h)),
        linear("down", "down", "mlp.down_proj", h, f),
      }
    end,
    extra = two_norms,
    beside = beside(),
    gguf = {
      architecture = "phi3", class = "Phi3ForCausalLM", model = gguf_model,
      block = gguf_block { attn_qkv = "self_attn.qkv_proj", ffn_up = "mlp.gate_up_proj" },
    },
    forward = phi3_forward,
  },
}

-- What lua/blocks.lua and the files of lua/architectures build on.
blocks = { linear = linear, attention = attention, mlp = with_mlp, gguf_model = gguf_model,
           gguf_block = gguf_block, reordered = reordered, beside = beside,
           beside_qk = beside_qk }

-- Add an entry.
function family(entry) table.insert(list, entry) end

return list

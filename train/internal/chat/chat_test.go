package chat

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/strictjson"
)

// chatML is the format of Qwen and SmolLM.
const chatML = `{%- for message in messages %}
    {%- if loop.first and message['role'] != 'system' %}
        {{- '<|im_start|>system\nYou help.<|im_end|>\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
`

func render(t *testing.T, template string) (string, error) {
	t.Helper()
	const input = `[{"role": "user", "content": "Hi", "n": 2, "list": [1, "two", 3.0, null, true], "map": {"b": 1, "a": {"x": "it's"}}},
		{"role": "assistant", "content": "Hello\n"}]`
	messages, err := strictjson.Decode([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := Parse(template)
	if err != nil {
		return "", err
	}
	text, _, err := parsed.Render(Input{Messages: messages.Elements, AddGenerationPrompt: true, Variables: map[string]string{"bos_token": "<s>"}})
	return text, err
}

// The wanted texts are those of transformers 5.23.0 with Jinja 3.1.6;
// interop/check_chat.py compares whole templates of published models.
func TestRender(t *testing.T) {
	const m = `{% set m = messages[0] %}`
	for _, c := range []struct{ template, want string }{
		{chatML, "<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello\n<|im_end|>\n<|im_start|>assistant\n"},
		{"a\n  {% if true %}\nb\n  {% endif %}\nc\n", "a\nb\nc"},
		{"a  {%- if true -%}  b  {%- endif +%}\nc", "ab\nc"},
		{"  {#- c -#}  x {# d #}\ny", "x y"},
		{"{{ bos_token }}{{ missing }}{{ 1 + 2 * 3 ** 2 }} {{ 7 // -2 }} {{ 7 % -2 }} {{ 7 / 2 }} {{ 'a' ~ 1 }}", "<s>19 -4 -1 3.5 a1"},
		{m + "{{ m.list }} {{ m.map }} {{ m.map.a.x }} {{ m['list'][-1] }} {{ m.list[1:3] }} {{ m.content[::-1] }}", `[1, 'two', 3.0, None, True] {'b': 1, 'a': {'x': "it's"}} it's True ['two', 3.0] iH`},
		{m + "{{ m.map | tojson }} {{ m.list | tojson(indent=1) }}", "{\"b\": 1, \"a\": {\"x\": \"it's\"}} [\n 1,\n \"two\",\n 3.0,\n null,\n true\n]"},
		{"{% for m in messages if m.role == 'user' %}{{ loop.index }}{{ loop.last }}{% else %}none{% endfor %}", "1True"},
		{"{% for x in [] %}{% else %}none{% endfor %}{% for k, v in messages[0].map | dictsort %}{{ k }}{% endfor %}", "noneab"},
		{"{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% set x = 1 %}{% endfor %}{{ ns.n }}{{ x is defined }}", "2False"},
		{"{% macro f(a, b='z') %}[{{ a }}{{ b }}]{% endmacro %}{{ f(1) }}{{ f(1, b=2) }}", "[1z][12]"},
		{"{% for x in range(5) %}{% if x == 1 %}{% continue %}{% elif x == 3 %}{% break %}{% endif %}{{ x }}{% endfor %}", "02"},
		{"{% set x %} cap {% endset %}{{ x | trim | upper }}{{ 'a b'.split() | length }}{{ 'x,y'.split(',')[-1] }}", "CAP2y"},
		{"{{ messages | map(attribute='role') | join('/') }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "user/assistant 1"},
		{"{{ 'yes' if messages[1].content.endswith('\\n') and not messages[0].tools else 'no' }} {{ 3 is odd }} {{ none is none }} {{ x is not defined }}", "yes True True True"},
		{"{{ '%s' is string }}{{ {} is mapping }}{{ 'a' in 'abc' }}{{ 'z' not in ['a'] }}{{ 1 < 2 < 3 }}", "TrueTrueTrueTrueTrue"},
		{"{{ messages[0].none_such | default('d') }} {{ '' | default('e', true) }} {{ [3, 1] | first }} {{ 'aXb'.replace('X', '-') }}", "d e 3 a-b"},
	} {
		if got, err := render(t, c.template); got != c.want || err != nil {
			t.Errorf("%q renders\n%q, want\n%q; %v", c.template, got, c.want, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	double := "{% set x = 'xxxxxxxxxxxxxxxx' %}" + strings.Repeat("{% set x = x ~ x %}", 40)
	// Two lists of 2⁴⁰ elements that take no memory.
	nested := "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}"
	for _, c := range []struct {
		template, want string
		unsupported    bool
	}{
		{"{{ raise_exception('no ' ~ 1) }}", `refuses the messages: "no 1"`, false},
		{"{{ x.y }}", "undefined 'x' has no member", false},
		{"{{ 'a' + 1 }}", "a string + a number", false},
		{"{{ 1 // 0 }}", "division by zero", false},
		{"{{ f() }}", "is no function", false},
		{"{{ strftime_now('%Y') }}", "today's date", true},
		{"{{ 1 | sum }}", `filter "sum"`, true},
		{"{{ 1 is escaped }}", `test "escaped"`, true},
		{"{% include 'x' %}", `tag "include"`, true},
		{"{% for %}", "line 1", false},
		{"{{ 1", "tag without an end", false},
		{"{{ 'a }}", "string without an end", false},
		{"{# x", "comment without an end", false},
		{"{% if 1 %}", "expected elif or else or endif", false},
		{"{% endif %}", "unexpected", false},
		{"{% break %}", "outside of a loop", false},
		{"{{ " + strings.Repeat("(", 200) + "1" + strings.Repeat(")", 200) + " }}", "nested deeper", false},
		{strings.Repeat("{% if 1 %}", 200) + strings.Repeat("{% endif %}", 200), "nested deeper", false},
		{"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested deeper", false},
		{"{% for a in range(2000) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", "steps", true},
		{"{{ range(1000000000) }}", "range of more", false},
		{"{{ 'x' * 1000000000000 }}", "bytes", true},
		{double + "{{ x }}", "bytes", true},
		{nested + "{{ ns.x }}", "steps", true},
		{nested + "{{ ns.x ~ 'a' }}", "steps", true},
		{nested + "{{ ns.x | string | length }}", "steps", true},
		{nested + "{{ ns.x | join(',') }}", "steps", true},
		{nested + "{{ ns.x | map('string') | list }}", "steps", true},
		{nested + "{{ ns.x == ns.y }}", "steps", true},
		{nested + "{{ {'a': ns.x} == {'a': ns.y} }}", "steps", true},
		{nested + "{{ ns.x in [ns.y] }}", "steps", true},
		{nested + "{{ [ns.x] | select('equalto', ns.y) | list }}", "steps", true},
		{"{% set l = range(50000) | list %}{% for i in l %}{% if 'x' in l %}{% endif %}{% endfor %}", "steps", true},
		{"{% set t = 'a' * 10000000 %}{% for i in range(50000) %}{% if 'b' in t or t.count('b') or t == 'b' %}{% endif %}{% endfor %}", "steps", true},
	} {
		start := time.Now()
		_, err := render(t, c.template)
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, rule.ErrUnsupported) != c.unsupported {
			t.Errorf("%.80q: error %v, want %q", c.template, err, c.want)
		}
		if d := time.Since(start); d > 20*time.Second { // 2 s on the slowest machine seen
			t.Errorf("%.80q takes %v", c.template, d)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(chatML)
	f.Add("{% macro f(a) %}{{ a[1:] | tojson }}{% endmacro %}{{ f([1, {'a': 2}]) }}{% generation %}{% endgeneration %}")
	f.Fuzz(func(t *testing.T, source string) {
		parsed, err := Parse(source)
		if err != nil {
			return
		}
		text, spans, err := parsed.Render(Input{AddGenerationPrompt: true})
		for _, s := range spans {
			if err == nil && (s.Start < 0 || s.End < s.Start || s.End > len(text)) {
				t.Fatalf("span %v of %d bytes", s, len(text))
			}
		}
	})
}

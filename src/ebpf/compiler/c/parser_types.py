"""Types (C11 6.7): specifiers, attributes, records, enums."""

from __future__ import annotations

from ebpf.compiler.c import ast
from ebpf.compiler.c.parser_cursor import BUILTIN_TYPE_NAMES, SPECIFIER_WORDS, Recover
from ebpf.compiler.c.parser_declarators import QUALIFIERS, DeclaratorParser, Specifiers

_STORAGE = frozenset({"typedef", "extern", "static", "auto", "register"})
_BASIC_WORDS = frozenset(
    {"void", "char", "short", "int", "long", "float", "double", "signed", "unsigned", "_Bool", "__int128"}
)

# Every way to spell a basic type, words sorted, and its canonical name.
_BASIC: dict[str, str] = {
    "void": "void",
    "char": "char",
    "char signed": "signed char",
    "char unsigned": "unsigned char",
    "_Bool": "_Bool",
    "float": "float",
    "double": "double",
    "double long": "long double",
}
for _words, _name in (
    ("short", "short"),
    ("", "int"),
    ("long", "long"),
    ("long long", "long long"),
    ("__int128", "__int128"),
):
    for _int in ("", "int") if _name != "__int128" else ("",):
        for _sign in ("", "signed", "unsigned"):
            _key = " ".join(sorted(f"{_words} {_int} {_sign}".split()))
            if _key:
                _BASIC[_key] = f"unsigned {_name}" if _sign == "unsigned" else _name

# Attributes that say something of the type itself, wherever they stand.
_TYPE_ATTRIBUTES = frozenset({"btf_type_tag", "address_space", "noderef", "vector_size", "mode"})
_RECORD_ATTRIBUTES = frozenset(
    {
        "packed",
        "aligned",
        "preserve_access_index",
        "transparent_union",
        "may_alias",
        "designated_init",
        "unused",
        "deprecated",
        "btf_decl_tag",
        "randomize_layout",
        "ms_struct",
        "gcc_struct",
        "flag_enum",
        "enum_extensibility",
        "warn_if_not_aligned",
        "preserve_static_offset",
    }
)


class TypeParser(DeclaratorParser):
    def type_name(self) -> ast.TypeExpr:
        """A type without a declared name: in a cast, ``sizeof``, a macro's argument."""
        specifiers = self.specifiers(in_type_name=True)
        base = self.need_base(specifiers)
        if self.kinds[self.pos] in (")", ",", ":", ";"):
            return base
        declarator = self.declarator(abstract=True)
        if declarator.name is not None:
            self.fail("C0208", f"a type alone expected, but `{declarator.name}` is declared here", index=self.pos - 1)
        return declarator.apply(base)

    def need_base(self, specifiers: Specifiers) -> ast.TypeExpr:
        """The base type; where none was written, that is reported and ``int`` stands in."""
        if specifiers.base is not None:
            return specifiers.base
        token = self.tokens[self.pos]
        if specifiers.storage == "auto":
            specifiers.storage = None
            return ast.BuiltinType(specifiers.loc, specifiers.end, "__auto_type")
        if self.kinds[self.pos] == "bad":
            self.pos += 1
            self.fail("C0208", "", index=self.pos - 1)
        if self.kinds[self.pos] == "id" and self.kinds[self.pos + 1] not in ("(", ";", "=", "[", ","):
            self.unknown_type(self.pos)
            self.pos += 1
            return ast.NamedType(token.loc, token.end, token.text)
        if self.kinds[self.pos] != "id":
            self.fail("C0208", f"a type expected, found {self.found()}")
        self.report("C0208", f"the type of `{token.text}` is missing", helps=[f"write `int {token.text}`"])
        return ast.BuiltinType(token.loc, token.loc, "int")

    def specifiers(self, *, in_type_name: bool = False) -> Specifiers:
        """Storage class, qualifiers, type and attributes, in any order."""
        kinds, tokens = self.kinds, self.tokens
        first = tokens[self.pos]
        out = Specifiers(first.loc)
        words: list[str] = []
        words_loc = words_end = first.loc
        qualifiers: set[str] | None = None
        while True:
            kind = kinds[self.pos]
            token = tokens[self.pos]
            if out.tagged_only and self._is_next_declaration(out, kind):
                previous = tokens[self.pos - 1]
                self.diagnostics.error(
                    "C0203", "`;` expected after `}`", previous.end, previous.end + 1, label="add `;` here"
                )
                out.cut = True
                break
            if kind == "id":
                if out.base is not None or words or not self.is_type_name(token.text):
                    break
                self.pos += 1
                name = token.text
                if name in BUILTIN_TYPE_NAMES and self.declared(name) is None:
                    out.base = ast.BuiltinType(token.loc, token.end, BUILTIN_TYPE_NAMES[name])
                else:
                    out.base = ast.NamedType(token.loc, token.end, name)
                continue
            if kind not in SPECIFIER_WORDS and kind != "__extension__" and kind != "[":
                if kind == "_BitInt":
                    self.fail("C0206", "`_BitInt` is not supported", helps=["use `__int128` or an array"])
                break
            if kind in _BASIC_WORDS:
                if not words:
                    words_loc = token.loc
                words.append(kind)
                words_end = token.end
                self.pos += 1
            elif kind in QUALIFIERS:
                self.pos += 1
                if kind == "_Atomic" and kinds[self.pos] == "(" and out.base is None and not words:
                    opener = self.pos
                    self.pos += 1
                    out.base = self.type_name()
                    self.expect(")", opener=opener)
                    kinds, tokens = self.kinds, self.tokens
                if qualifiers is None:
                    qualifiers = set()
                qualifiers.add(kind)
            elif kind in ("struct", "union", "enum"):
                if out.base is not None or words:
                    self._two_types(token.text)
                out.base = self.enum() if kind == "enum" else self.record(kind)
                kinds, tokens = self.kinds, self.tokens
                out.tagged_only = True
                if out.base.attributes:
                    own = [a for a in out.base.attributes if a.name in _RECORD_ATTRIBUTES]
                    if len(own) != len(out.base.attributes):
                        out.attributes += [a for a in out.base.attributes if a.name not in _RECORD_ATTRIBUTES]
                        out.base.attributes = own
            elif kind == "typeof":
                if out.base is not None or words:
                    self._two_types("typeof")
                out.base = self.typeof()
                kinds, tokens = self.kinds, self.tokens
            elif kind == "__auto_type":
                self.pos += 1
                out.base = ast.BuiltinType(token.loc, token.end, "__auto_type")
            elif kind == "__attribute__":
                out.attributes += self.attributes()
            elif kind == "[":
                if kinds[self.pos + 1] != "[" or out.base is not None or words:
                    break
                out.attributes += self.attributes()
            elif kind == "_Alignas":
                out.attributes.append(self.alignas())
                kinds, tokens = self.kinds, self.tokens
            elif kind in _STORAGE:
                if in_type_name:
                    self.fail("C0208", f"`{kind}` cannot stand in a type's name")
                if out.storage is not None and out.storage != kind:
                    self.report("C0208", f"`{kind}` and `{out.storage}` cannot stand together")
                out.storage = kind
                self.pos += 1
            elif kind == "inline":
                out.inline = True
                self.pos += 1
            elif kind == "_Thread_local":
                self.fail("C0206", "BPF has no thread-local variables", helps=["use a per-CPU map"])
            elif kind == "_Complex":
                self.fail("C0206", "BPF has no complex numbers")
            else:  # _Noreturn, __extension__
                self.pos += 1
        if words:
            key = " ".join(sorted(words))
            basic = _BASIC.get(key)
            if basic is None:
                self.diagnostics.error("C0208", f"`{' '.join(words)}` is not a type of C", words_loc, words_end)
                basic = "int"
            if out.base is not None:
                self.diagnostics.error(
                    "C0208", f"two types in one declaration: `{' '.join(words)}` and another", words_loc, words_end
                )
            else:
                out.base = ast.BuiltinType(words_loc, words_end, basic)
        if out.base is None and out.storage == "auto" and qualifiers:  # C23's; without qualifiers see `need_base`
            out.storage = None
            out.base = ast.BuiltinType(first.loc, tokens[self.pos - 1].end, "__auto_type")
        base = out.base
        out.end = tokens[self.pos - 1].end
        if base is not None:
            of_type = [a for a in out.attributes if a.name in _TYPE_ATTRIBUTES] if out.attributes else []
            if of_type:
                out.attributes = [a for a in out.attributes if a.name not in _TYPE_ATTRIBUTES]
            if qualifiers or of_type:
                out.base = ast.Qualified(out.loc, out.end, base, frozenset(qualifiers or ()), of_type)
        return out

    def _is_next_declaration(self, so_far: Specifiers, kind: str) -> bool:
        """After ``struct { … }``: whether what follows can only be another declaration."""
        base = so_far.base
        if not (
            isinstance(base, ast.RecordType)
            and base.members is not None
            or isinstance(base, ast.EnumType)
            and base.enumerators is not None
        ):
            return False
        if kind in _BASIC_WORDS or kind in ("struct", "union", "enum", "typeof"):
            return True
        if kind in _STORAGE or kind == "inline":
            return self.tokens[self.pos].bol
        return (
            kind == "id"
            and self.kinds[self.pos + 1] in ("id", "*")
            and self.tokens[self.pos].bol
            and self.is_type_name(self.tokens[self.pos].text)
        )

    def ends_here(self, specifiers: Specifiers) -> bool:
        """Whether the declaration ends without declaring a name; takes its ``;``."""
        if specifiers.cut:
            return True
        if self.kinds[self.pos] == ";":
            self.pos += 1
            return True
        return False

    def comma_for_semicolon(self) -> bool:
        """Behind a comma between declarators: whether another declaration begins, so that it should have been ``;``."""
        if not self.starts_type(self.pos) or self.kinds[self.pos + 1] not in ("id", "*"):
            return False
        self.report("C0202", "`;` expected between two declarations, found `,`", index=self.pos - 1)
        return True

    def _two_types(self, second: str) -> None:
        self.report(
            "C0208",
            f"two types in one declaration: `{second}` follows another type",
            helps=["is a `;` missing before it?"] if self.tokens[self.pos].bol else [],
        )

    def typeof(self) -> ast.TypeofType:
        token = self.tokens[self.pos]
        self.pos += 1
        opener = self.pos
        self.expect("(", "`typeof`")
        expr: ast.Expr | None = None
        type_: ast.TypeExpr | None = None
        if self.starts_type(self.pos):
            type_ = self.type_name()
        else:
            expr = self.expression()
        end = self.expect(")", opener=opener).end
        return ast.TypeofType(token.loc, end, expr, type_)

    def alignas(self) -> ast.Attribute:
        token = self.tokens[self.pos]
        self.pos += 1
        opener = self.pos
        self.expect("(", "`_Alignas`")
        value: ast.Expr
        if self.starts_type(self.pos):
            type_ = self.type_name()
            value = ast.AlignofType(type_.loc, type_.end, type_)
        else:
            value = self.constant()
        end = self.expect(")", opener=opener).end
        return ast.Attribute(token.loc, end, "aligned", [value])

    # ---------------------------------------------------------------------------------------------------- attributes

    def attributes(self) -> list[ast.Attribute]:
        """Any number of ``__attribute__((…))`` and ``[[…]]``; names without their underscores and vendor."""
        out: list[ast.Attribute] = []
        kinds = self.kinds
        while True:
            if kinds[self.pos] == "__attribute__":
                self.pos += 1
                outer = self.pos
                self.expect("(", "`__attribute__`")
                self.expect("(", "`__attribute__(`")
                self._attribute_list(out, ")")
                self.expect(")", opener=outer + 1)
                self.expect(")", opener=outer)
            elif kinds[self.pos] == "[" and kinds[self.pos + 1] == "[":
                outer = self.pos
                self.pos += 2
                self._attribute_list(out, "]")
                self.expect("]", opener=outer + 1)
                self.expect("]", opener=outer)
            else:
                return out
            kinds = self.kinds

    def _attribute_list(self, out: list[ast.Attribute], closing: str) -> None:
        while self.kinds[self.pos] != closing:
            token = self.tokens[self.pos]
            if token.kind == ",":
                self.pos += 1
                continue
            if (
                self.kinds[self.pos] == "__attribute__"
            ):  # `noinline`, `fallthrough`: macros of the kernel's, and names of attributes
                out += self.attributes()
                continue
            if token.kind != "id":
                self.fail("C0202", f"the name of an attribute expected, found {self.found()}")
            self.pos += 1
            name = token.text
            if (
                self.kinds[self.pos] == ":"
                and self.kinds[self.pos + 1] == ":"
                and self.tokens[self.pos + 2].kind == "id"
            ):
                name = self.tokens[self.pos + 2].text
                self.pos += 3
            args: list[ast.Expr] = []
            if self.kinds[self.pos] == "(":
                opener = self.pos
                self.pos += 1
                while self.kinds[self.pos] != ")":
                    args.append(self.argument())
                    if self.kinds[self.pos] != ",":
                        break
                    self.pos += 1
                self.expect(")", opener=opener)
            plain = name[2:-2] if name.startswith("__") and name.endswith("__") and len(name) > 4 else name
            out.append(ast.Attribute(token.loc, self.tokens[self.pos - 1].end, plain, args))

    # --------------------------------------------------------------------------------------------- records and enums

    def record(self, kind: str) -> ast.RecordType:
        """``struct`` or ``union`` with tag, members, or both."""
        token = self.tokens[self.pos]
        self.pos += 1
        attributes = self.attributes()
        tag = None
        if self.kinds[self.pos] == "id":
            tag = self.tokens[self.pos].text
            self.pos += 1
            attributes += self.attributes()
        if self.kinds[self.pos] != "{":
            if tag is None:
                self.fail("C0202", f"a tag or `{{` expected after `{kind}`, found {self.found()}")
            return ast.RecordType(token.loc, self.tokens[self.pos - 1].end, kind, tag, None, attributes)
        if tag is not None:
            self.tags.add(tag)
        opener = self.pos
        attributes += self.pragma_attributes(opener)
        self.pos += 1
        members: list[ast.MemberDecl] = []
        while self.kinds[self.pos] != "}":
            if self.kinds[self.pos] == "eof":
                opening = self.tokens[opener]
                self.fail(
                    "C0209",
                    f"`}}` is missing: the {kind}{f' `{tag}`' if tag else ''} is never closed",
                    related=[(opening.loc, opening.end, "it is opened here")],
                )
            start = self.pos
            try:
                self.member(members)
            except Recover:
                self.skip_statement()
                if self.pos == start and self.kinds[start] not in ("}", "eof"):
                    self.pos += 1
        self.pos += 1
        attributes += self.attributes()
        return ast.RecordType(token.loc, self.tokens[self.pos - 1].end, kind, tag, members, attributes)

    def member(self, members: list[ast.MemberDecl]) -> None:
        """One declaration inside a record."""
        kinds = self.kinds
        if kinds[self.pos] == ";":
            self.pos += 1
            return
        if kinds[self.pos] == "_Static_assert":
            self.static_assert()
            return
        specifiers = self.specifiers()
        base = self.need_base(specifiers)
        kinds = self.kinds
        if specifiers.storage is not None:
            self.diagnostics.error(
                "C0208", f"a member cannot be `{specifiers.storage}`", specifiers.loc, specifiers.end
            )
        if self.ends_here(specifiers):
            if specifiers.tagged_only:
                inner = base.type if isinstance(base, ast.Qualified) else base
                if isinstance(inner, ast.RecordType) and (inner.members is not None or inner.tag):
                    members.append(
                        ast.MemberDecl(
                            specifiers.loc, self.tokens[self.pos - 1].end, None, base, None, specifiers.attributes
                        )
                    )
                return
            self.diagnostics.error("C0208", "the name of the member is missing", specifiers.end, specifiers.end + 1)
            return
        while True:
            start = self.tokens[self.pos]
            name, width = None, None
            type_, attributes = base, list(specifiers.attributes)
            if kinds[self.pos] != ":":
                declarator = self.declarator()
                name = declarator.name
                type_ = declarator.apply(base)
                attributes += declarator.attributes
                start_loc = declarator.name_loc
            else:
                start_loc = start.loc
            kinds = self.kinds
            if kinds[self.pos] == ":":
                self.pos += 1
                width = self.constant()
            attributes += self.attributes()
            if kinds[self.pos] == "=":
                self.fail(
                    "C0208", "a member cannot have an initialiser in C", helps=["initialise the variable instead"]
                )
            members.append(ast.MemberDecl(start_loc, self.tokens[self.pos - 1].end, name, type_, width, attributes))
            if kinds[self.pos] != ",":
                break
            self.pos += 1
            if self.comma_for_semicolon():
                return
        if kinds[self.pos] == "(" or kinds[self.pos] == "{":
            self.fail("C0204", "a struct of C has no member functions", index=self.pos)
        self.expect_semicolon("the member")

    def static_assert(self) -> ast.StaticAssert:
        token = self.tokens[self.pos]
        self.pos += 1
        opener = self.pos
        self.expect("(", "`_Static_assert`")
        condition = self.constant()
        message = ""
        if self.kinds[self.pos] == ",":
            self.pos += 1
            message = self.string().value.decode("utf-8", "replace")
        end = self.expect(")", opener=opener).end
        self.expect_semicolon("`_Static_assert(…)`")
        return ast.StaticAssert(token.loc, end, condition, message)

    def enum(self) -> ast.EnumType:
        token = self.tokens[self.pos]
        self.pos += 1
        attributes = self.attributes()
        tag = None
        if self.kinds[self.pos] == "id":
            tag = self.tokens[self.pos].text
            self.pos += 1
        underlying: ast.TypeExpr | None = None
        if self.kinds[self.pos] == ":" and (self.starts_type(self.pos + 1)):
            self.pos += 1
            underlying = self.need_base(self.specifiers(in_type_name=True))
        if self.kinds[self.pos] != "{":
            if tag is None:
                self.fail("C0202", f"a tag or `{{` expected after `enum`, found {self.found()}")
            return ast.EnumType(token.loc, self.tokens[self.pos - 1].end, tag, None, attributes, underlying)
        opener = self.pos
        self.pos += 1
        enumerators: list[ast.Enumerator] = []
        while self.kinds[self.pos] != "}":
            name = self.tokens[self.pos]
            if name.kind == "bad":
                self.pos += 1
                self.fail("C0202", "", index=self.pos - 1)
            if self.kinds[self.pos] != "id":
                opening = self.tokens[opener]
                self.fail(
                    "C0202",
                    f"the name of an enumerator or `}}` expected, found {self.found()}",
                    related=[(opening.loc, opening.end, "the enum is opened here")],
                )
            self.pos += 1
            self.attributes()
            value = None
            if self.kinds[self.pos] == "=":
                self.pos += 1
                value = self.constant()
            self.declare(name.text)
            enumerators.append(ast.Enumerator(name.loc, self.tokens[self.pos - 1].end, name.text, value))
            if self.kinds[self.pos] == ",":
                self.pos += 1
            elif self.kinds[self.pos] != "}":
                if self.kinds[self.pos] == ";":
                    self.report("C0202", "`,` expected after the enumerator, found `;`")
                    self.pos += 1
                    continue
                self.fail("C0202", f"`,` or `}}` expected after the enumerator, found {self.found()}")
        self.pos += 1
        attributes += self.attributes()
        return ast.EnumType(token.loc, self.tokens[self.pos - 1].end, tag, enumerators, attributes, underlying)

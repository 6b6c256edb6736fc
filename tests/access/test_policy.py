"""Policies: which rule counts, and which rules are refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._access.identity import Identity, parse_address
from spalloc_server._access.policy import AccessClass, Policy, Rule


def host(text: str) -> Identity:
    return Identity(parse_address(text))


ADA = Identity(parse_address("10.1.2.3"), certificate="ada@example.org")
ROOT = Identity(uid=0, unix_user="root")


def test_without_rules_everybody_may_use() -> None:
    assert Policy().judge(host("192.0.2.7")) == (AccessClass.use, None)


def test_the_first_rule_that_matches_counts_and_no_match_is_denied() -> None:
    policy = Policy(
        [
            Rule("10.1.9.0/24", "deny"),
            Rule("10.1.0.0/16", "use"),
            ("2001:db8::/32", "read"),
            ("10.1.9.1", "operate"),
        ]
    )

    assert policy.judge(host("10.1.9.1")) == (AccessClass.deny, 1)
    assert policy.judge(host("10.1.2.3")) == (AccessClass.use, 2)
    assert policy.judge(host("2001:db8::1")) == (AccessClass.read, 3)
    assert policy.judge(host("192.0.2.7")) == (AccessClass.deny, None)


def test_names_match_by_pattern_and_only_a_star_is_special() -> None:
    policy = Policy(
        [("cert:*@example.org", "use"), ("unix:root", "operate"), ("user:[a]?", "read")]
    )

    assert policy.judge(ADA) == (AccessClass.use, 1)
    assert policy.judge(ROOT) == (AccessClass.operate, 2)
    assert policy.judge(Identity(user="[a]?")) == (AccessClass.read, 3)
    assert policy.judge(Identity(user="ab")) == (AccessClass.deny, None)
    assert policy.judge(Identity(certificate="ada@example.com")) == (AccessClass.deny, None)


def test_a_user_id_matches_where_the_system_knows_no_name() -> None:
    assert Policy([("unix:1017", "use")]).judge(Identity(uid=1017)) == (AccessClass.use, 1)


def test_a_user_id_without_a_name_is_denied_with_every_name_that_is() -> None:
    policy = Policy([("unix:7", "read"), ("unix:guest*", "deny"), ("unix:*", "use")])

    assert policy.judge(Identity(uid=5, unix_user="guest5")) == (AccessClass.deny, 2)
    assert policy.judge(Identity(uid=5, unix_user="ada")) == (AccessClass.use, 3)
    assert policy.judge(Identity(uid=5)) == (AccessClass.deny, 2)
    assert policy.judge(Identity(uid=7)) == (AccessClass.read, 1)
    # Numbers are known without a directory, and other rules do not deny by names.
    by_number = Policy([("unix:6", "deny"), ("unix:guest*", "read"), ("unix:*", "use")])
    assert by_number.judge(Identity(uid=5)) == (AccessClass.use, 3)
    assert by_number.judge(Identity(uid=6)) == (AccessClass.deny, 1)
    assert policy.judge(host("10.1.2.3")) == (AccessClass.deny, None)
    assert Policy([("unix:a", "deny"), ("10.0.0.0/8", "use")]).judge(host("10.1.2.3"))[1] == 2


def test_rules_for_mapped_addresses_are_those_for_ipv4() -> None:
    policy = Policy([("::ffff:10.1.0.0/112", "use")])

    assert policy.judge(host("10.1.2.3")) == (AccessClass.use, 1)
    assert policy.judge(host("::ffff:10.1.2.3")) == (AccessClass.use, 1)


def test_calls_from_within_are_never_denied() -> None:
    assert Policy([]).judge(Identity()) == (AccessClass.use, None)


@pytest.mark.parametrize(
    ("access", "text"),
    [
        ("10.1.0.0/16", "access is '10.1.0.0/16': expected a list of rules"),
        (5, "access is 5"),
        ([("10.1.0.0/16",)], "access rule 1 is ('10.1.0.0/16',): expected (WHO, CLASS)"),
        ([["10.1.0.0/16", "use"]], "access rule 1 is ['10.1.0.0/16', 'use']"),
        ([("10.1.0.0/16", "write")], "the class is 'write': expected one of ('deny', 'read'"),
        ([("10.1.0.1/16", "use")], "'10.1.0.1/16' is no network"),
        ([("ldap:ada", "use")], "'ldap:ada' is no network"),
        ([("cert:", "use")], "'cert:' has no name: expected cert:NAME"),
        ([("cert: ada", "use")], "'cert: ada': the name begins or ends with a blank"),
        ([("unix:ada\n", "use")], "the name begins or ends with a blank"),
        ([("fe80::1%eth0", "use")], "zones such as %eth0 are not told apart: leave it out"),
        ([("fe80::%eth0/64", "deny")], "'fe80::%eth0/64' is no network"),
        ([("10.1.0.0/16", "front")], "cannot be a front: expected unix:USER or cert:NAME"),
        ([("user:web", "front")], "cannot be a front"),
    ],
)
def test_a_bad_rule_is_named(access: Any, text: str) -> None:
    with pytest.raises((TypeError, ValueError)) as refused:
        Policy(access)

    assert text in str(refused.value)


def test_rules_can_be_listed_in_order() -> None:
    assert Policy().rules is None
    assert Policy([("10.1.0.1", "use")]).rules == (Rule("10.1.0.1", "use"),)


def test_isolation_is_checked() -> None:
    with pytest.raises(ValueError, match="isolation is 'all': expected one of"):
        Policy(isolation="all")


def test_a_policy_is_equal_to_one_of_the_same_rules_and_its_text_makes_it_again() -> None:
    policy = Policy([("10.1.0.0/16", "use")], isolation="jobs")

    assert policy == Policy([Rule("10.1.0.0/16", "use")], isolation="jobs")
    assert policy != Policy([("10.1.0.0/16", "read")], isolation="jobs")
    assert eval(repr(policy), {"Policy": Policy, "Rule": Rule}) == policy


def test_rules_without_effect_are_found() -> None:
    policy = Policy(
        [
            ("10.0.0.0/8", "use"),
            ("10.1.0.0/16", "read"),
            ("2001:db8::/32", "use"),
            ("cert:*", "use"),
            ("cert:ada", "operate"),
            ("unix:a*", "read"),
            ("unix:ab", "use"),
        ]
    )

    assert list(policy.findings()) == [
        "access rule 2 (10.1.0.0/16) has no effect: rule 1 (10.0.0.0/8) comes first",
        "access rule 5 (cert:ada) has no effect: rule 4 (cert:*) comes first",
        "access rule 7 (unix:ab) has no effect: rule 6 (unix:a*) comes first",
    ]
    assert list(Policy([]).findings()) == ["access is an empty list: every connection is denied"]
    assert "everybody" in next(Policy().findings())


NETWORKS = st.builds(
    lambda bits, length: f"{_masked(bits, length)}/{length}",
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


def _masked(bits: int, length: int) -> str:
    kept = bits >> (32 - length) << (32 - length)
    return ".".join(str(kept >> shift & 255) for shift in (24, 16, 8, 0))


@given(st.lists(st.tuples(NETWORKS, st.sampled_from(["deny", "use"])), max_size=6), st.data())
def test_a_rule_that_is_said_to_have_no_effect_never_counts(
    rules: list[tuple[str, str]], data: st.DataObject
) -> None:
    policy = Policy(rules)
    told = {int(each.split()[2]) for each in policy.findings() if each.startswith("access rule")}

    address = ".".join(str(data.draw(st.integers(0, 255))) for _ in range(4))

    assert policy.judge(host(address))[1] not in told

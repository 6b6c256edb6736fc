"""The doorkeeper: which connections are admitted, and which of their commands are carried out.

Owns the policy in force, the class of each client that was judged, and the log of denials.  The
judgements themselves are `_access`'s.  Loop thread only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from spalloc_server import _clock
from spalloc_server._access.commands import Effect, Judgement, judge, judge_job
from spalloc_server._access.denials import Denials, network_of
from spalloc_server._access.identity import Identity, parse_address
from spalloc_server._access.policy import AccessClass, Policy
from spalloc_server._checks.values import escaped, shown
from spalloc_server._wire.messages import Command

log = logging.getLogger(__name__)

#: Keywords by which a front names the user of a command.
FRONT_KEYWORDS = ("as_user", "from_host")

#: Beginnings of principals that are told by an address, or by the lack of one.
_BY_ADDRESS = ("host:", "local")

PrincipalOfJob = Callable[[int], str | None]


class NotAllowedError(ValueError):
    """A command that its client may not give; the text says why."""


@dataclass(frozen=True)
class Standing:
    """A client's identity and its class under the policy in force.

    Attributes
    ----------
    identity : Identity
    access : AccessClass
    principal : str
        The strongest name of the identity.
    by_address : bool
        Whether its address tells its principal.
    """

    identity: Identity
    access: AccessClass
    principal: str = field(init=False)
    by_address: bool = field(init=False)

    def __post_init__(self) -> None:
        # Worked out once: every command of the client asks for them.
        object.__setattr__(self, "principal", self.identity.principal)
        object.__setattr__(self, "by_address", self.principal.startswith(_BY_ADDRESS))

    def demand(self, least: AccessClass, command: str) -> None:
        """Refuse a command that is for one class alone, also where everybody may give the others.

        Raises
        ------
        NotAllowedError
            If the client is of another class.
        """
        if self.access is not least:
            raise NotAllowedError(
                f"{command} needs the right to {least.name}; "
                f"your address or name has the right to {self.access.name}"
            )


class Doorkeeper:
    """Admits connections and judges commands.

    Parameters
    ----------
    policy : Policy
    principal_of : callable
        Principal of a job by its id; None if it is not known.

    Attributes
    ----------
    policy : Policy
        In force; see `change_policy`.
    open : bool
        Whether every client may give every command, so that nothing need be judged.
    standings : dict
        {client: its `Standing`}, of those that were admitted.
    denials : Denials
    """

    def __init__(self, policy: Policy, principal_of: PrincipalOfJob) -> None:
        self._principal_of = principal_of
        self.denials = Denials()
        self.standings: dict[Any, Standing] = {}
        # The client that gave the present command, its user's standing, and whether it renews.
        self._acting: tuple[Any, Standing, bool] | None = None
        # The log has told of this policy's findings.
        self._told: Policy | None = None
        self._set_policy(policy)

    def _set_policy(self, policy: Policy) -> None:
        self.policy = policy
        self.open = policy.access is None and policy.isolation == "none"

    def change_policy(self, policy: Policy) -> list[Any]:
        """Judge by another policy; returns the clients that it denies."""
        if policy != self._told:
            self._told = policy
            for text in policy.findings():
                log.log(logging.INFO if policy.access is None else logging.WARNING, "%s", text)
        if policy == self.policy:
            return []
        self._set_policy(policy)
        return [
            client
            for client, standing in list(self.standings.items())
            if not self.admit(client, standing.identity)
        ]

    # --- connections ---

    def admit(self, client: Any, identity: Identity) -> bool:
        """Judge a connection; False if it must be closed without an answer."""
        access, rule = self.policy.judge(identity)
        if access is AccessClass.deny:
            self._tell_denial(identity, rule)
            return False
        self.standings[client] = Standing(identity, access)
        return True

    def _tell_denial(self, identity: Identity, rule: int | None) -> None:
        count = self.denials.note(identity.address, _clock.monotonic())
        if count is not None:
            by = "no rule admits it" if rule is None else f"access rule {rule}"
            log.warning(
                "denied %s (%s); %d from %s since this was last told",
                escaped(identity.principal),
                by,
                count,
                network_of(identity.address),
            )

    def forget(self, client: Any) -> None:
        """Forget a client that is gone."""
        self.standings.pop(client, None)

    def standing(self, client: Any) -> Standing:
        """Return a client's identity and class; those of a call from within for None.

        One that was never judged, as it was gone before, may do nothing under a policy.
        """
        found = self.standings.get(client)
        if found is not None:
            return found
        known = client is None or self.open
        return Standing(Identity(), AccessClass.use if known else AccessClass.deny)

    def plain_identity(self, client: Any) -> dict[str, str | None] | None:
        """Return a client's address and certificate as JSON has them; None if it has no address.

        A proxy may have told them: the address of the socket is the proxy's then.
        """
        identity = self.standing(client).identity
        if identity.address is None:
            return None
        return {"address": str(identity.address), "certificate": identity.certificate}

    def acts_as(self, client: Any) -> Standing:
        """Return the identity and class for which a client's present command is given."""
        acting = self._acting
        if acting is not None and client is not None and acting[0] is client:
            return acting[1]
        return self.standing(client)

    def renews(self, client: Any) -> bool:
        """Whether a client's present command may begin a job's keepalive period anew."""
        acting = self._acting
        return acting is None or client is None or acting[0] is not client or acting[2]

    # --- commands ---

    def run(
        self,
        client: Any,
        command: Command,
        job_id: int | None,
        handler: Callable[..., object],
    ) -> object:
        """Run a command as far as its client may give it.

        Parameters
        ----------
        client : socket
        command : Command
        job_id : int or None
            The job that it names.
        handler : callable
            Carries it out, given its arguments.

        Raises
        ------
        NotAllowedError
            If the client may not give it; nothing was done.
        """
        kwargs = dict(command.kwargs)
        standing = self._for_user(self.standing(client), kwargs)
        found = self.judge(standing, command.name, job_id)
        if found.effect is Effect.refused:
            raise NotAllowedError(found.reason)
        if found.effect is Effect.none:
            return None
        self._acting = client, standing, found.effect is Effect.full
        try:
            return handler(*command.args, **kwargs)
        finally:
            self._acting = None

    def judge(self, standing: Standing, name: str, job_id: int | None) -> Judgement:
        """Judge a command, by its job if it names one."""
        if job_id is None or self.policy.isolation == "none":
            return judge(name, standing.access)
        owner = self._principal_of(job_id)
        return judge_job(name, standing.access, standing.principal, owner, isolated=True)

    def _for_user(self, standing: Standing, kwargs: dict[str, Any]) -> Standing:
        """Take the words of a front out of a command's keywords.

        Returns
        -------
        Standing
            Of the user that it names, else of the client itself.

        Raises
        ------
        ValueError
            If they come from anybody but a front, or are of bad form, or the user is denied.
        """
        given = {name: kwargs.pop(name) for name in FRONT_KEYWORDS if name in kwargs}
        if not given:
            return standing
        if standing.access is not AccessClass.front:
            raise NotAllowedError(
                f"{next(iter(given))} is for fronts alone; "
                f"your address or name has the right to {standing.access.name}"
            )
        user, host = given.get("as_user"), given.get("from_host")
        if not isinstance(user, str) or not 1 <= len(user) <= 256 or not user.isprintable():
            raise ValueError(
                f"as_user is {shown(user)}: expected a name of 1 to 256 printable characters"
            )
        address = parse_address(host) if isinstance(host, str) else None
        if host is not None and address is None:
            raise ValueError(f"from_host is {shown(host)}: expected an IP address, or null")
        identity = Identity(address=address, user=user)
        access, _ = self.policy.judge(identity)
        if access in (AccessClass.deny, AccessClass.front):
            raise NotAllowedError(f"user:{user} is not admitted by the server's policy")
        return Standing(identity, access)

-- Record that rights were granted to a role.
insert into {schema}.roles (role, kind)
values ('{role_literal}', '{kind}')
on conflict do nothing

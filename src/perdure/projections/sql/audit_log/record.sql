-- Write an entry of the audit log. $1 name, $2 version, $3 build, $4 action, $5 actor, $6 reason, $7 detail
insert into {schema}.projection_actions (name, version, build, action, actor, reason, detail)
values ($1, $2, $3, $4, $5, $6, $7)

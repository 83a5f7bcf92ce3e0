# salt/beacon/<id>/globoapp/disk/bad: old releases beyond `keep` and old logs go, nothing else.
make room on the disk:
  local.globoapp_heal.tidy:
    - tgt: {{ data['id'] | json }}
    - tgt_type: list

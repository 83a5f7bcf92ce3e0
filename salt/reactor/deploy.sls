# globoapp/deploy/<id>: a ledger line. Record it and acknowledge it.
record the deploy:
  runner.globoapp_watch.deployed:
    - args:
        minion: {{ data['id'] | tojson }}
        entries: {{ [data['data']] | tojson | base64_encode }}

# globoapp/report/<id>: how a server is, every minute.
take the report:
  runner.globoapp_watch.report:
    - args:
        minion: {{ data['id'] | tojson }}
        data: {{ data['data'] | tojson | base64_encode }}
